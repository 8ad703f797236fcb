package passfd

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

func TestDescribe(t *testing.T) {
	pipe := func(which int) func(t *testing.T) int {
		return func(t *testing.T) int {
			var fds [2]int
			if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) })
			return fds[which]
		}
	}
	open := func(path string, flags int) func(t *testing.T) int {
		return func(t *testing.T) int {
			fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Close(fd) })
			return fd
		}
	}
	socket := func(domain, kind int, listen bool) func(t *testing.T) int {
		return func(t *testing.T) int {
			fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Close(fd) })
			if listen && domain == unix.AF_UNIX {
				err = unix.Bind(fd, &unix.SockaddrUnix{})
			}
			if listen && err == nil {
				err = unix.Listen(fd, 1)
			}
			if err != nil {
				t.Fatal(err)
			}
			return fd
		}
	}
	pair := func(kind int) func(t *testing.T) int {
		return func(t *testing.T) int {
			fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) })
			return fds[0]
		}
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		fd   func(*testing.T) int
		kind agentproto.PassedFile_Kind
		err  string
	}{
		"reading pipe":    {pipe(0), agentproto.PassedFile_PIPE_READER, ""},
		"writing pipe":    {pipe(1), agentproto.PassedFile_PIPE_WRITER, ""},
		"fifo both ways":  {open(fifo, unix.O_RDWR), 0, "a fifo that is open for reading and writing"},
		"file of procfs":  {open("/proc/self/status", unix.O_RDONLY), 0, "a file of the kernel's"},
		"stream":          {pair(unix.SOCK_STREAM), agentproto.PassedFile_STREAM, ""},
		"datagrams":       {pair(unix.SOCK_DGRAM), 0, "a socket that is no stream socket"},
		"packets":         {pair(unix.SOCK_SEQPACKET), 0, "a socket that is no stream socket"},
		"unconnected":     {socket(unix.AF_INET, unix.SOCK_STREAM, false), 0, "neither connected nor listening"},
		"listening, UNIX": {socket(unix.AF_UNIX, unix.SOCK_STREAM, true), agentproto.PassedFile_LISTENER_UNIX, ""},
		"listening, IPv4": {socket(unix.AF_INET, unix.SOCK_STREAM, true), agentproto.PassedFile_LISTENER_IPV4, ""},
		"null":            {open("/dev/null", unix.O_RDWR), agentproto.PassedFile_DEVICE, ""},
		"nameless file": {func(t *testing.T) int {
			fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Close(fd) })
			return fd
		}, 0, "a regular file without a name"},
		"regular file": {open("/etc/passwd", unix.O_RDONLY), agentproto.PassedFile_FILE, ""},
		"directory":    {open("/", unix.O_RDONLY), 0, "a directory"},
		"anonymous":    {func(t *testing.T) int { fd, _ := unix.Eventfd(0, unix.EFD_CLOEXEC); return fd }, 0, "anon_inode:[eventfd]"},
		"terminal":     {open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY), 0, "a terminal"},
		"closed":       {func(*testing.T) int { return 1 << 20 }, 0, "is not open"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := describe(tc.fd(t))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("%v, %v; want an error with %q", d, err, tc.err)
				}
				return
			}
			if err != nil || d.GetKind() != tc.kind {
				t.Errorf("%v, %v; want %v", d, err, tc.kind)
			}
		})
	}
}

func TestFilePosition(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, _ = f.WriteString("0123456789")
	_, _ = f.Seek(4, io.SeekStart)
	d, err := describe(int(f.Fd()))
	if err != nil || d.GetOffset() != 4 || d.GetOpenFlags() != unix.O_RDWR|unix.O_APPEND {
		t.Errorf("%v, %v", d, err)
	}
	if path, err := pathOf(int(f.Fd())); err != nil || path != f.Name() {
		t.Errorf("%q, %v", path, err)
	}
	if err := os.Rename(f.Name(), f.Name()+".moved"); err != nil {
		t.Fatal(err)
	}
	if path, err := pathOf(int(f.Fd())); err != nil || path != f.Name()+".moved" {
		t.Errorf("%q, %v", path, err)
	}
	if err := os.Remove(f.Name() + ".moved"); err != nil {
		t.Fatal(err)
	}
	if path, err := pathOf(int(f.Fd())); err == nil {
		t.Errorf("a removed file is at %q", path)
	}
}

func TestActivation(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, tc := range []struct {
		pid, fds string
		want     int
	}{
		{own, "2", 2}, {own, "0", 0}, {own, "-1", 0}, {own, "x", 0}, {own, "", 0}, {"1", "2", 0}, {"", "2", 0},
	} {
		t.Setenv("LISTEN_PID", tc.pid)
		t.Setenv("LISTEN_FDS", tc.fds)
		if got := activation(); got != tc.want {
			t.Errorf("LISTEN_PID=%q LISTEN_FDS=%q: %d, want %d", tc.pid, tc.fds, got, tc.want)
		}
	}
}

func TestTooMany(t *testing.T) {
	all := make([]int, first+agentproto.MaxPassedFiles+1)
	for i := range all {
		all[i] = i
	}
	for _, n := range []int{-1, agentproto.MaxPassedFiles + 1, math.MaxInt} {
		if files, err := Preserved(n, all); err == nil {
			t.Errorf("%d: %v", n, files)
		}
	}
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	for _, sockets := range []int{agentproto.MaxPassedFiles, math.MaxInt} {
		t.Setenv("LISTEN_FDS", strconv.Itoa(sockets))
		if files, n, err := FromCaller(1, all); err == nil {
			t.Errorf("%d sockets and 1 more: %d, %v", sockets, n, files)
		}
	}
}

// Descriptors of this program's own are not the caller's.
func TestNotInherited(t *testing.T) {
	for _, inherited := range [][]int{nil, {4, 5}, {3, 5}} {
		if files, err := Preserved(2, inherited); !errors.Is(err, unix.EBADF) {
			t.Errorf("%v of %v: %v", files, inherited, err)
		}
	}
}

// A connection is accepted, and closes when both directions have.
func TestAccept(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	f, ok := Open(file, agentproto.PassedFile_LISTENER_UNIX, 7)
	if !ok || f.Number != 7 || f.Accept == nil {
		t.Fatalf("%+v", f)
	}
	far, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	in, out, err := f.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(out, "down")
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(far); err != nil || string(got) != "down" {
		t.Errorf("%q, %v", got, err)
	}
	_, _ = io.WriteString(far, "up")
	_ = far.(*net.UnixConn).CloseWrite()
	if got, err := io.ReadAll(in); err != nil || string(got) != "up" {
		t.Errorf("%q, %v", got, err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if _, err := out.Write([]byte("x")); err == nil {
		t.Error("still open")
	}
}
