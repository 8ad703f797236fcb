package agent

import (
	"context"
	"time"

	"google.golang.org/grpc/stats"

	"github.com/runvm/runvm/agentproto"
)

// powerOffTimeout bounds the wait for the host to hang up.
const powerOffTimeout = time.Second

// Shutdown implements the call. The power goes when the host has hung up, which it does when it has the answer.
func (s *Server) Shutdown(ctx context.Context, _ *agentproto.ShutdownRequest) (*agentproto.ShutdownResponse, error) {
	s.unmountShare()
	ended, _ := ctx.Value(connEnd{}).(chan struct{})
	go func() {
		select {
		case <-ended:
		case <-time.After(powerOffTimeout):
		}
		_ = s.options.PowerOff()
	}()
	return &agentproto.ShutdownResponse{}, nil
}

// connEnd is the key under which a call's context has a channel that is closed with its connection.
type connEnd struct{}

// connEnds makes those channels. gRPC tells of the end of a connection in no other way.
type connEnds struct{}

func (connEnds) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return context.WithValue(ctx, connEnd{}, make(chan struct{}))
}

func (connEnds) HandleConn(ctx context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnEnd); ok {
		close(ctx.Value(connEnd{}).(chan struct{}))
	}
}

func (connEnds) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (connEnds) HandleRPC(context.Context, stats.RPCStats) {}
