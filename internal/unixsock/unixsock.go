// Package unixsock listens on and connects to Unix sockets in directories whose path may be longer than the 107 bytes
// that a socket address holds, unix(7). It names the directory by a descriptor: /proc/self/fd/N/NAME.
package unixsock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Listen makes the socket NAME in directory dir and listens on it. The file must not exist yet. Closing the listener
// leaves the file in place; the caller removes it.
func Listen(dir, name string) (*net.UnixListener, error) {
	var l *net.UnixListener
	err := WithAddress(dir, name, func(address string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", filepath.Join(dir, name), cause(err))
	}
	// The address holds a descriptor that is closed by now: nothing may unlink what it would name at a later time.
	l.SetUnlinkOnClose(false)
	return l, nil
}

// Dial connects to the socket NAME in directory dir.
func Dial(ctx context.Context, dir, name string) (*net.UnixConn, error) {
	var conn net.Conn
	err := WithAddress(dir, name, func(address string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", filepath.Join(dir, name), cause(err))
	}
	return conn.(*net.UnixConn), nil
}

// WithAddress calls f with a short path of the file NAME in directory dir. The path is valid until f returns, in this
// process only.
func WithAddress(dir, name string, f func(address string) error) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", dir, err)
	}
	defer unix.Close(fd)
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", fd, name))
}

// cause strips the net package's report of the address, which means nothing to the reader of a message.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
