// Package reaper waits for the orphans that PID 1 inherits, and leaves alone the processes that somebody else waits
// for.
package reaper

import (
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// Reaper knows which children somebody waits for. Its methods may be called from several goroutines.
//
// Nothing is reaped while a process is being started: libcontainer makes children whose pids it learns later, and a
// reaper that is quicker would take their exit status.
type Reaper struct {
	again chan struct{} // look again: capacity 1

	mu     sync.Mutex
	starts int // under way
	known  map[int]struct{}
}

// New returns a reaper. Nothing is reaped before Run.
func New() *Reaper {
	return &Reaper{again: make(chan struct{}, 1), known: make(map[int]struct{})}
}

// Start runs start, which begins a process and returns its pid. The reaper leaves that pid alone until Done. Several
// starts may run at once.
func (r *Reaper) Start(start func() (pid int, err error)) error {
	r.mu.Lock()
	r.starts++
	r.mu.Unlock()
	pid, err := start()
	r.mu.Lock()
	r.starts--
	if err == nil {
		r.known[pid] = struct{}{}
	}
	r.mu.Unlock()
	r.wake()
	return err
}

// Done says that pid has been waited for.
func (r *Reaper) Done(pid int) {
	r.mu.Lock()
	delete(r.known, pid)
	r.mu.Unlock()
	r.wake()
}

func (r *Reaper) wake() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// Run reaps on every SIGCHLD until stop is closed. One goroutine of PID 1 runs it.
func (r *Reaper) Run(stop <-chan struct{}) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	for {
		r.reap()
		select {
		case <-children:
		case <-r.again:
		case <-stop:
			return
		}
	}
}

// reap waits for every zombie that is nobody's. A zombie that is somebody's hides those behind it in the kernel's list:
// its owner is about to wait for it, and Done looks again.
func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.starts > 0 {
		return // the end of the last one looks again
	}
	for {
		pid := zombie()
		if _, known := r.known[pid]; known || pid <= 0 {
			return
		}
		_, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		if err != nil && err != unix.EINTR { // errors of package unix are bare
			return
		}
	}
}
