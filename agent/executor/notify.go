package executor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agent/process"
	"github.com/runvm/runvm/agentproto"
)

// notify is the socket to which a container's processes send what sd_notify(3) says.
type notify struct {
	dir    string
	socket *net.UnixConn

	mu    sync.Mutex
	taken bool
}

// newNotify makes the socket name in a directory of container id's own. An empty name is no socket.
func newNotify(id, name string) (_ *notify, err error) {
	if name == "" {
		return nil, nil
	}
	if filepath.Base(name) != name {
		return nil, fmt.Errorf("%w: notify socket %q is no file name", ErrInvalid, name)
	}
	n := &notify{dir: filepath.Join(agentproto.NotifyDir, id)}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(n.dir, name)
	n.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err == nil {
		err = os.Chmod(path, 0o777) // for every user of the container, as runc's
	}
	if err != nil {
		n.remove()
		return nil, fmt.Errorf("notify socket: %w", err)
	}
	return n, nil
}

// remove is safe on nil and may be called twice.
func (n *notify) remove() {
	if n == nil {
		return
	}
	if n.socket != nil {
		_ = n.socket.Close()
	}
	_ = os.RemoveAll(n.dir)
}

func (n *notify) take() bool {
	if n == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.taken {
		return false
	}
	n.taken = true
	return true
}

// giveUp closes a socket that nobody reads: whoever sends to it is told, and not blocked.
func (n *notify) giveUp() {
	if n.take() {
		_ = n.socket.Close()
	}
}

// ReadNotifications calls taken once the socket is the caller's, and then hands over each datagram that the container
// sends to its notify socket, until its init has ended, ctx ends or a call fails. Afterwards the socket is closed: who
// sends then gets ECONNREFUSED and is not blocked.
func (c *Container) ReadNotifications(ctx context.Context, taken func() error, send func([]byte) error) error {
	if c.notify == nil {
		return state("the container has no notify socket")
	}
	if !c.notify.take() {
		return process.ErrAttached
	}
	socket := c.notify.socket
	defer socket.Close()
	if err := taken(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) })()
	go func() {
		select {
		case <-c.Init.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	// One byte more than allowed tells a longer datagram, which is dropped, as systemd does.
	buf := make([]byte, agentproto.MaxDatagram+1)
	for {
		n, err := socket.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return drainNotifications(socket, buf, send)
		case err != nil:
			return err
		case n > agentproto.MaxDatagram:
		default:
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
	}
}

// drainNotifications hands over what was sent before the container's end.
func drainNotifications(socket *net.UnixConn, buf []byte, send func([]byte) error) error {
	conn, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var n int
		var readErr error
		if err := conn.Control(func(fd uintptr) { n, readErr = unix.Read(int(fd), buf) }); err != nil {
			return err
		}
		if readErr != nil {
			return nil // EAGAIN: nothing is left
		}
		if n <= agentproto.MaxDatagram {
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
	}
}
