package vmm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a running QEMU or virtiofsd. One goroutine waits for it, whatever the callers do.
type Process struct {
	cmd    *exec.Cmd
	name   string
	stderr *tail
	done   chan struct{}
	err    error // set before done is closed
}

// outputGrace is how long the wait for a process goes on when something it left behind still holds its stderr.
const outputGrace = 2 * time.Second

// startProcess starts cmd with its output kept. The kernel sends a process its parent-death signal when the parent's
// thread ends, prctl(2), and Go ends threads as it likes: so the starting goroutine keeps its thread until the process
// has ended.
//
// The process inherits securebits, see prctl(2), PR_SET_SECUREBITS; 0 leaves this program's own.
func startProcess(name string, cmd *exec.Cmd, securebits int) (*Process, error) {
	p := &Process{cmd: cmd, name: name, stderr: &tail{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = p.stderr, p.stderr, outputGrace
	started := make(chan error)
	go func() {
		// Never unlocked with securebits of its own: the thread then ends with the goroutine.
		runtime.LockOSThread()
		if securebits == 0 {
			defer runtime.UnlockOSThread()
		} else if err := unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(securebits), 0, 0, 0); err != nil {
			started <- os.NewSyscallError("prctl PR_SET_SECUREBITS", err)
			return
		}
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		defer close(p.done)
		if err := cmd.Wait(); err != nil {
			p.err = p.explain(err)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// explain adds what the process said last.
func (p *Process) explain(err error) error {
	if text := strings.TrimSpace(p.stderr.String()); text != "" {
		return fmt.Errorf("%s: %w: %s", p.name, err, text)
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// Pid is the process's id in this PID namespace.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and has been reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err waits for the end of the process. It returns nil after an exit with status 0, otherwise the status and the last
// 4 KiB that the process wrote; the status is an *exec.ExitError.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Kill ends the process at once; it does not wait. A process that has ended already is no error.
func (p *Process) Kill() {
	// os.Process holds a pidfd or a lock against its reaper: a recycled pid is never signalled.
	_ = p.cmd.Process.Kill()
}

// tail keeps the last bytes written to it. It is safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 4096

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if extra := len(t.buf) - tailSize; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// ErrNotFound marks a program that is not installed.
var ErrNotFound = errors.New("program not found")
