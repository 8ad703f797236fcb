package shim

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is a control socket: parent's and shim's end.
func pair(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	open := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "control")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c.(*net.UnixConn)
	}
	return open(fds[0]), open(fds[1])
}

func TestStatusMessages(t *testing.T) {
	near, far := pair(t)
	soon := time.Now().Add(time.Minute)
	for _, want := range []error{nil, errors.New("mount failed")} {
		if err := sendStatus(far, want); err != nil {
			t.Fatal(err)
		}
		got := readStatus(near, soon)
		if (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
			t.Errorf("%v arrived, want %v", got, want)
		}
	}
	_ = far.Close()
	if err := readStatus(near, soon); err == nil || !strings.Contains(err.Error(), "ended before it was ready") {
		t.Errorf("after the end: %v", err)
	}
}

func TestStatusDeadline(t *testing.T) {
	near, _ := pair(t)
	if err := readStatus(near, time.Now().Add(time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want a deadline", err)
	}
}

func TestPassFiles(t *testing.T) {
	near, far := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := sendFiles(near, w, w); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	files, err := receiveFiles(far)
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %x, %v: want close-on-exec", flags, err)
		}
		if _, err := f.WriteString("x"); err != nil {
			t.Error(err)
		}
		_ = f.Close()
	}
	if data, err := io.ReadAll(r); err != nil || string(data) != "xx" {
		t.Errorf("%q, %v", data, err)
	}
	_ = near.Close()
	if _, err := receiveFiles(far); err == nil {
		t.Error("the parent's end went unnoticed")
	}
}

func TestSignalsOfOurOwn(t *testing.T) {
	for s, want := range map[unix.Signal]bool{
		unix.SIGCHLD: true, unix.SIGURG: true, unix.SIGWINCH: true,
		unix.SIGTERM: false, unix.SIGHUP: false, unix.SIGUSR1: false, unix.Signal(40): false,
	} {
		if got := ours(s); got != want {
			t.Errorf("ours(%v) = %v", s, got)
		}
	}
}
