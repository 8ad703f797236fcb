package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/internal/relay"
)

// localTimeout bounds the wait for a connection within the guest, whose listener may have a full queue.
const localTimeout = 10 * time.Second

// DialLocal implements the call.
func (s *Server) DialLocal(stream grpc.BidiStreamingServer[agentproto.LocalChunk, agentproto.LocalChunk]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	port := first.GetPort()
	if port == 0 || port > 65535 {
		return status.Errorf(codes.InvalidArgument, "port %d: want 1 to 65535", port)
	}
	conn, err := dialLocal(stream.Context(), uint16(port), first.GetIpv6())
	if err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	if err := stream.Send(&agentproto.LocalChunk{}); err != nil {
		relay.Reset(conn)
		return err
	}
	return relay.Relay(conn,
		func(data []byte, end bool) error { return stream.Send(&agentproto.LocalChunk{Data: data, End: end}) },
		func() ([]byte, bool, error) {
			c, err := stream.Recv()
			return c.GetData(), c.GetEnd(), err
		})
}

// dialLocal tries the loopback of the other family, too: who dials "localhost" does so himself where a connection is
// refused, but the host's side has accepted it already.
func dialLocal(ctx context.Context, port uint16, v6 bool) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, localTimeout)
	defer cancel()
	addresses := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	if v6 {
		addresses[0], addresses[1] = addresses[1], addresses[0]
	}
	var errs []error
	for _, a := range addresses {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(a, port).String())
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("nothing answers on the guest's loopback: %w", errors.Join(errs...))
}
