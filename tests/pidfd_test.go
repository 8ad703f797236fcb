//go:build e2e

package tests

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pidfdSocket is where a test receives pidfds.
type pidfdSocket struct {
	path     string
	listener *net.UnixListener
}

func listenPidfd(t *testing.T) pidfdSocket {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return pidfdSocket{path, l}
}

type pidfd int

// receive takes one descriptor, whose message has the given text.
func (s pidfdSocket) receive(t *testing.T, want string) pidfd {
	t.Helper()
	if err := s.listener.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	conn, err := s.listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text, oob := make([]byte, 64), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(text, oob)
	if err != nil || string(text[:n]) != want {
		t.Fatalf("message %q, %v; want %q", text[:n], err, want)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		t.Fatalf("control messages %v, %v", messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("descriptors %v, %v", fds, err)
	}
	t.Cleanup(func() { _ = unix.Close(fds[0]) })
	return pidfd(fds[0])
}

// waitEnd waits until the process has ended.
func (p pidfd) waitEnd(t *testing.T) {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p), Events: unix.POLLIN}}, int(limit.Milliseconds()))
	if err != nil || n != 1 {
		t.Errorf("the process has not ended: %d, %v", n, err)
	}
}
