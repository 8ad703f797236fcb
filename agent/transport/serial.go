package transport

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/runvm/runvm/agentproto"
)

// serveSerial serves the host on a virtio-serial port, one yamux session after the other.
//
// While no host is connected, the kernel lets writes wait and reads return end of file at once (drivers/char/
// virtio_console.c). So each session begins with a write, which waits for a host without spinning.
func serveSerial(name string, serve func(net.Listener) error) error {
	path, err := findPort(name)
	if err != nil {
		return err
	}
	for {
		// Opened anew for each session: closing drops what the last one left behind. QEMU reports the opening on QMP
		// (VSERPORT_CHANGE), and the agent is ready by then.
		port, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("open the agent's port: %w", err)
		}
		err = serveSession(port, serve)
		_ = port.Close()
		if err != nil {
			return err
		}
	}
}

// serveSession says that the agent is ready and serves until the host closes its end. An error is one of the port.
func serveSession(port io.ReadWriteCloser, serve func(net.Listener) error) error {
	if _, err := io.WriteString(port, agentproto.ReadyLine); err != nil {
		return fmt.Errorf("write to the agent's port: %w", err)
	}
	session, err := yamux.Server(port, sessionConfig())
	if err != nil {
		return fmt.Errorf("multiplex the agent's port: %w", err)
	}
	// It ends with the session: with an error by nature.
	_ = serve(session)
	return session.Close()
}

// sessionConfig is yamux's for a peer that may be paused, or overloaded, for as long as it likes.
func sessionConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = 24 * time.Hour
	c.StreamOpenTimeout = 0
	c.MaxStreamWindowSize = 1 << 20
	c.LogOutput = io.Discard
	return c
}
