package console

import (
	"bytes"
	"net"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestPair: the slave translates nothing, since the guest's pty does.
func TestPair(t *testing.T) {
	p, err := New(&specs.Box{Height: 33, Width: 101})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if w, err := unix.IoctlGetWinsize(int(p.Slave.Fd()), unix.TIOCGWINSZ); err != nil || w.Row != 33 || w.Col != 101 {
		t.Errorf("size %+v, %v", w, err)
	}
	data := []byte("a\nb\r\n\x03\x04")
	if _, err := p.Slave.Write(data); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64)
	n, err := p.Master.Read(got)
	if err != nil || !bytes.Equal(got[:n], data) {
		t.Errorf("to the master came %q, %v", got[:n], err)
	}
	if _, err := p.Master.Write(data); err != nil {
		t.Fatal(err)
	}
	n, err = p.Slave.Read(got)
	if err != nil || !bytes.Equal(got[:n], data) {
		t.Errorf("to the slave came %q, %v", got[:n], err)
	}
}

// TestSend: the receiver gets the master's name and a descriptor that is the master.
func TestSend(t *testing.T) {
	p, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sent := make(chan error, 1)
	go func() { sent <- p.Send(path) }()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	name, oob := make([]byte, 256), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.(*net.UnixConn).ReadMsgUnix(name, oob)
	if err != nil || string(name[:n]) != p.Master.Name() {
		t.Fatalf("name %q, %v", name[:n], err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		t.Fatal(messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatal(fds, err)
	}
	defer unix.Close(fds[0])
	if _, err := p.Slave.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if n, err := unix.Read(fds[0], buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if err := p.Send(filepath.Join(t.TempDir(), "nobody")); err == nil {
		t.Error("nobody listens and nothing was said")
	}
}
