package process

import (
	"os"
	"sync"
	"time"
)

// input is the agent's end of a process's stdin.
type input struct {
	f    *os.File
	half bool // a pipe: closing it is the process's end of file

	mu     sync.Mutex
	taken  bool // somebody writes
	over   bool // the process has ended
	closed bool
}

// take makes the caller the only writer.
func (i *input) take() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.taken {
		return false
	}
	i.taken = true
	if !i.over {
		_ = i.f.SetWriteDeadline(time.Time{})
	}
	return true
}

// release lets the next writer come, where there can be one.
func (i *input) release() {
	i.closeHalf()
	i.mu.Lock()
	i.taken = false
	i.mu.Unlock()
}

func (i *input) interrupt() { _ = i.f.SetWriteDeadline(past) }

func (i *input) processEnded() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.over = true
	i.interrupt()
}

func (i *input) closeHalf() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.half && !i.closed {
		i.closed = true
		_ = i.f.Close()
	}
}
