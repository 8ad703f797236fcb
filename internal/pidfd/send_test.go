package pidfd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := DialSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	self, err := Find(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(self, "standard"); err != nil {
		t.Fatal(err)
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text, oob := make([]byte, 64), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(text, oob)
	if err != nil || string(text[:n]) != "standard" {
		t.Fatalf("received %q, %v", text[:n], err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("descriptors %v, %v", fds, err)
	}
	defer unix.Close(fds[0])
	if err := unix.PidfdSendSignal(fds[0], 0, nil, 0); err != nil {
		t.Errorf("what was received is no pidfd of this process: %v", err)
	}
	self.StartTime++
	if err := s.Send(self, "standard"); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a recycled pid: %v", err)
	}
}

func TestNoSocket(t *testing.T) {
	s, err := DialSocket("")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Send(Process{}, ""), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := DialSocket(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing socket: %v", err)
	}
}
