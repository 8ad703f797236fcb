package sandbox

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/internal/relay"
	"github.com/runvm/runvm/netns"
)

// localTimeout bounds the wait for the guest to connect.
const localTimeout = 30 * time.Second

// reflectLoopback lets processes on the host's side of the network namespace reach what listens on the guest's localhost:
// engines forward ports that way. A kernel that cannot costs no more than that.
func (s *Sandbox) reflectLoopback() {
	l, err := netns.ListenLoopback(s.config.NetNS)
	if err != nil {
		s.log("what the container serves on its localhost cannot be reached from the host's side of its network namespace: %v", err)
		return
	}
	s.loopback = l
	l.Serve(s.reflect)
}

func (s *Sandbox) stopReflecting() error {
	if s.loopback == nil {
		return nil
	}
	return s.loopback.Close()
}

// reflect carries one connection into the guest, which chooses nothing but the data. What fails is a reset to the client,
// as a refused connection would be.
func (s *Sandbox) reflect(c *net.TCPConn) {
	ctx, cancel := context.WithCancel(s.life)
	defer cancel()
	stream, err := s.dialLocal(ctx, cancel, c.LocalAddr().(*net.TCPAddr))
	if err != nil {
		relay.Reset(c)
		return
	}
	_ = relay.Relay(c,
		func(data []byte, end bool) error { return stream.Send(&agentproto.LocalChunk{Data: data, End: end}) },
		func() ([]byte, bool, error) {
			chunk, err := stream.Recv()
			return chunk.GetData(), chunk.GetEnd(), err
		})
}

// localStream is a DialLocal call.
type localStream interface {
	Send(*agentproto.LocalChunk) error
	Recv() (*agentproto.LocalChunk, error)
}

// dialLocal returns when the guest has connected.
func (s *Sandbox) dialLocal(ctx context.Context, cancel context.CancelFunc, to *net.TCPAddr) (localStream, error) {
	timer := time.AfterFunc(localTimeout, cancel)
	defer timer.Stop()
	stream, err := s.agent.Agent().DialLocal(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&agentproto.LocalChunk{Port: uint32(to.Port), Ipv6: to.IP.To4() == nil}); err != nil {
		return nil, fmt.Errorf("ask for the connection: %w", err)
	}
	_, err = stream.Recv()
	return stream, err
}
