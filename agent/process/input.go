package process

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// input is the agent's end of what a process reads.
type input struct {
	f    *os.File
	half func() error // closes f: the process's end of file; nil for a terminal, which has no half close

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

// copyFrom is Streams.Write.
func (i *input) copyFrom(ctx context.Context, next func() ([]byte, error)) (taken uint64, err error) {
	if !i.take() {
		return 0, ErrAttached
	}
	defer i.release()
	defer context.AfterFunc(ctx, i.interrupt)()
	for {
		data, err := next()
		if errors.Is(err, io.EOF) {
			return taken, nil
		}
		if err != nil {
			return taken, err
		}
		n, err := i.f.Write(data)
		taken += uint64(n)
		if err != nil {
			return taken, ctx.Err()
		}
	}
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
	if i.half != nil && !i.closed {
		i.closed = true
		_ = i.half()
	}
}

func (i *input) isClosed() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.closed
}
