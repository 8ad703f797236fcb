package pidfd

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Socket is a connection to somebody who wants a pidfd: runc's --pidfd-socket. A nil Socket is nobody.
type Socket struct{ conn *net.UnixConn }

// DialSocket connects to the Unix socket at path; an empty path is nobody. The caller calls Close.
func DialSocket(path string) (*Socket, error) {
	if path == "" {
		return nil, nil
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("failed to dial the pidfd socket %s: %w", path, err)
	}
	return &Socket{conn}, nil
}

// Close closes the connection.
func (s *Socket) Close() error {
	if s == nil {
		return nil
	}
	return s.conn.Close()
}

// Send sends a pidfd of the process, with a text as runc does. os.ErrProcessDone: it has ended and has been reaped.
func (s *Socket) Send(p Process, text string) error {
	if s == nil {
		return nil
	}
	// In blocking mode, unlike that of Open: the receiver may want to wait with it.
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return fmt.Errorf("process %d: pidfd_open: %w", p.PID, gone(err))
	}
	defer unix.Close(fd)
	if s, err := readStat(p.PID); err != nil || s.startTime != p.StartTime {
		return fmt.Errorf("process %d: %w", p.PID, os.ErrProcessDone)
	}
	if _, _, err := s.conn.WriteMsgUnix([]byte(text), unix.UnixRights(fd), nil); err != nil {
		return fmt.Errorf("send a pidfd: %w", err)
	}
	return nil
}
