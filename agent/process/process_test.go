package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// start runs a command with the stdio that the agent gives a container's process.
func start(t *testing.T, script string) *Process {
	t.Helper()
	s, child, err := Pipes(os.Getuid(), os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = child.Stdin, child.Stdout, child.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill(); s.Close() })
	return New(cmd.Process.Pid, s, Ops{
		Wait: func() (syscall.WaitStatus, error) {
			_ = cmd.Wait() // its error is the status
			return cmd.ProcessState.Sys().(syscall.WaitStatus), nil
		},
		Signal: func(s unix.Signal) error { return cmd.Process.Signal(s) },
	})
}

// read collects one output to its end.
func read(ctx context.Context, p *Process, which int) (string, error) {
	var b bytes.Buffer
	err := p.Read(ctx, which, func(data []byte) error {
		_, err := b.Write(data)
		return err
	})
	return b.String(), err
}

func pieces(data ...string) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(data) == 0 {
			return nil, io.EOF
		}
		next := data[0]
		data = data[1:]
		return []byte(next), nil
	}
}

func wait(t *testing.T, p *Process) Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	exit, err := p.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

func TestStdio(t *testing.T) {
	p := start(t, "cat; echo error >&2; exit 7")
	taken, err := p.Write(t.Context(), pieces("one ", "two"))
	if err != nil || taken != 7 {
		t.Errorf("taken %d, err %v", taken, err)
	}
	stdout, err := read(t.Context(), p, Stdout)
	if err != nil || stdout != "one two" {
		t.Errorf("stdout %q, err %v", stdout, err)
	}
	if stderr, err := read(t.Context(), p, Stderr); err != nil || stderr != "error\n" {
		t.Errorf("stderr %q, err %v", stderr, err)
	}
	if exit := wait(t, p); exit.Code != 7 || exit.Signal != 0 {
		t.Errorf("exit %+v", exit)
	}
}

// Programs that do not expect EAGAIN get descriptors that block.
func TestChildBlocks(t *testing.T) {
	p := start(t, "for fd in 0 1 2; do grep flags /proc/self/fdinfo/$fd; done")
	_, _ = p.Write(t.Context(), pieces())
	out, err := read(t.Context(), p, Stdout)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		flags, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(line, "flags:")), 8, 32)
		if err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("%q: err %v", line, err)
		}
	}
}

// What was written before the end arrives, though a descendant holds the pipe open, and writes on.
func TestDrainAfterExit(t *testing.T) {
	p := start(t, "head -c 300000 /dev/zero; (while :; do echo noise; done) & echo $! >&2; exit 0")
	t.Cleanup(func() {
		pid, _ := read(context.Background(), p, Stderr)
		if n, err := strconv.Atoi(strings.TrimSpace(pid)); err == nil {
			_ = unix.Kill(n, unix.SIGKILL)
		}
	})
	wait(t, p) // without a reader so far
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := read(ctx, p, Stdout)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 300000 || strings.Count(out[:300000], "\x00") != 300000 {
		t.Errorf("%d bytes arrived", len(out))
	}
}

func TestReaderAttachedAtExit(t *testing.T) {
	p := start(t, "echo text; sleep 1000 & echo $! >&2; sleep 0.1")
	out, err := read(t.Context(), p, Stdout)
	if err != nil || out != "text\n" {
		t.Errorf("output %q, err %v", out, err)
	}
	pid, _ := read(t.Context(), p, Stderr)
	if n, err := strconv.Atoi(strings.TrimSpace(pid)); err == nil {
		_ = unix.Kill(n, unix.SIGKILL)
	}
}

// A process that closes its output lives on.
func TestClosedStdoutKeepsRunning(t *testing.T) {
	p := start(t, "exec >&-; read x; exit 4")
	if out, err := read(t.Context(), p, Stdout); err != nil || out != "" {
		t.Errorf("output %q, err %v", out, err)
	}
	select {
	case <-p.Done():
		t.Fatal("the process ended with its stdout")
	default:
	}
	if _, err := p.Write(t.Context(), pieces("x\n")); err != nil {
		t.Error(err)
	}
	if exit := wait(t, p); exit.Code != 4 {
		t.Errorf("exit %+v", exit)
	}
}

// A reader that goes away is EPIPE to the process.
func TestReaderGone(t *testing.T) {
	p := start(t, "while echo y; do :; done 2>/dev/null; exit 9")
	ctx, cancel := context.WithCancel(t.Context())
	err := p.Read(ctx, Stdout, func([]byte) error {
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
	if exit := wait(t, p); exit.Signal != unix.SIGPIPE && exit.Code != 9 {
		t.Errorf("exit %+v", exit)
	}
	if _, err := read(t.Context(), p, Stdout); !errors.Is(err, ErrAttached) {
		t.Errorf("second reader: %v", err)
	}
}

func TestReaderCancelledWhileIdle(t *testing.T) {
	p := start(t, "read x")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := read(ctx, p, Stdout); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err %v", err)
	}
}

// A process that does not read its stdin must not hold its writer when it ends.
func TestWriterReturnsAtExit(t *testing.T) {
	p := start(t, "sleep 0.1; exit 1")
	endless := func() ([]byte, error) { return make([]byte, 64<<10), nil }
	taken, err := p.Write(t.Context(), endless)
	if err != nil || taken == 0 {
		t.Errorf("taken %d, err %v", taken, err)
	}
}

func TestSignals(t *testing.T) {
	p := start(t, "exec sleep 1000")
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, p); exit.Code != 143 || exit.Signal != unix.SIGTERM {
		t.Errorf("exit %+v", exit)
	}
	if err := p.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal after the end: %v", err)
	}
}

func TestNoTerminal(t *testing.T) {
	p := start(t, "true")
	if err := p.Resize(Size{Height: 1, Width: 1}); !errors.Is(err, ErrNoStream) {
		t.Errorf("resize: %v", err)
	}
	if _, err := read(t.Context(), p, 2); !errors.Is(err, ErrNoStream) {
		t.Errorf("read: %v", err)
	}
}

// openPTY returns a pty's master, as a terminal's streams get it, and its slave.
func openPTY(t *testing.T) (*os.File, *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("no pty: %v", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "ptmx"), slave
}

func TestTerminal(t *testing.T) {
	master, slave := openPTY(t)
	s := Terminal(master)
	if err := s.Resize(Size{Height: 12, Width: 34}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "stty size; read x; echo got $x")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	p := New(cmd.Process.Pid, s, Ops{Wait: func() (syscall.WaitStatus, error) {
		_ = cmd.Wait()
		return cmd.ProcessState.Sys().(syscall.WaitStatus), nil
	}})
	for _, word := range []string{"wo", "rd\n"} { // a terminal can be written to again
		if _, err := p.Write(t.Context(), pieces(word)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := read(t.Context(), p, Stdout)
	if err != nil || !strings.Contains(out, "12 34") || !strings.Contains(out, "got word\r\n") {
		t.Errorf("output %q, err %v", out, err)
	}
}
