// Package transport is the way from the guest to its host: a virtio-serial port multiplexed with yamux, or vsock. Both
// end in a net.Listener under the agent's server.
package transport

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/mdlayher/vsock"

	"github.com/runvm/runvm/agent/boot"
	"github.com/runvm/runvm/agentproto"
)

// Serve tells the host that the agent is ready and calls serve with the listener of the transport that c names, again
// and again if that transport has sessions. It returns only when the transport is broken.
func Serve(c boot.Config, serve func(net.Listener) error) error {
	switch c.Transport {
	case boot.Serial:
		return serveSerial(agentproto.SerialPortName, serve)
	case boot.Vsock:
		return serveVsock(c.Port, serve)
	default:
		return fmt.Errorf("unknown transport %q", c.Transport)
	}
}

// serveVsock listens, reports to the host's port once, and serves.
func serveVsock(hostPort uint32, serve func(net.Listener) error) error {
	l, err := vsock.Listen(agentproto.VsockPort, nil)
	if err != nil {
		return fmt.Errorf("listen on vsock port %d: %w", agentproto.VsockPort, err)
	}
	defer l.Close()
	conn, err := vsock.Dial(vsock.Host, hostPort, nil)
	if err != nil {
		return fmt.Errorf("report to the host's vsock port %d: %w", hostPort, err)
	}
	_, err = io.WriteString(conn, agentproto.ReadyLine)
	if err := errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("report to the host's vsock port %d: %w", hostPort, err)
	}
	return serve(l)
}
