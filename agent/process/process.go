package process

import (
	"context"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exit is how a process ended.
type Exit struct {
	Code      int         // 0 to 255; 128+n when signal n ended the process
	Signal    unix.Signal // 0, or the signal that ended the process
	OOMKilled bool        // the process; of a container's init: some process of the container, at any time
}

// exitOf translates what wait(2) says.
func exitOf(status syscall.WaitStatus) Exit {
	if status.Signaled() {
		return Exit{Code: 128 + int(status.Signal()), Signal: unix.Signal(status.Signal())}
	}
	return Exit{Code: status.ExitStatus()}
}

// lostCode is the exit code of a process whose status could not be had.
const lostCode = 255

// Ops is what a process can be asked, by whoever started it.
type Ops struct {
	// Wait blocks until the process has ended, and reaps it.
	Wait func() (syscall.WaitStatus, error)
	// Signal sends a signal. os.ErrProcessDone: the process has ended.
	Signal func(unix.Signal) error
	// Ended, if not nil, completes the exit, and what belongs to it, before anybody is told of it.
	Ended func(*Exit)
}

// Process is a process that was started. It owns its streams.
type Process struct {
	Pid int // in the guest's root PID namespace
	*Streams

	ops  Ops
	done chan struct{}
	exit Exit // readable once done is closed
}

// New takes over a process that was just started, and waits for it.
func New(pid int, s *Streams, ops Ops) *Process {
	p := &Process{Pid: pid, Streams: s, ops: ops, done: make(chan struct{})}
	go p.watch()
	return p
}

func (p *Process) watch() {
	status, err := p.ops.Wait()
	p.ended()
	p.exit = exitOf(status)
	if err != nil {
		p.exit = Exit{Code: lostCode}
	}
	if p.ops.Ended != nil {
		p.ops.Ended(&p.exit)
	}
	close(p.done)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns how the process ended, once it has. The error is that of ctx.
func (p *Process) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-p.done:
		return p.exit, nil
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
}

// Signal sends a signal to the process alone. os.ErrProcessDone: it has ended.
func (p *Process) Signal(s unix.Signal) error { return p.ops.Signal(s) }
