package process

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

// output is the agent's end of what a process writes.
type output struct {
	f        *os.File
	capacity int          // bytes that can wait in the kernel when the process ends
	shut     func() error // closes f; nil where Close does

	mu     sync.Mutex
	taken  bool // somebody reads, or it is closed
	closed bool
}

func newOutput(f *os.File, capacity int) *output { return &output{f: f, capacity: capacity} }

func (o *output) take() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.taken {
		return false
	}
	o.taken = true
	return true
}

// long past: a deadline that makes reads return.
var past = time.Unix(1, 0)

func (o *output) processEnded() { _ = o.f.SetReadDeadline(past) }

func (o *output) closeUnused() {
	if o.take() {
		o.close()
	}
}

// close is for whoever has taken it.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.shut != nil {
		_ = o.shut()
		return
	}
	_ = o.f.Close()
}

func (o *output) isClosed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

// copyTo is Streams.Read.
func (o *output) copyTo(ctx context.Context, send func([]byte) error) error {
	if !o.take() {
		return ErrAttached
	}
	defer o.close()
	stop := context.AfterFunc(ctx, func() { _ = o.f.SetReadDeadline(past) })
	defer stop()
	buf := make([]byte, agentproto.MaxChunk)
	for {
		n, err := o.f.Read(buf)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			return o.drain(buf, send)
		default:
			return endOfOutput(err)
		}
	}
}

// endOfOutput is nil for the errors with which an output ends: a pty's master reads EIO once nobody has its slave open.
func endOfOutput(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, unix.EIO) {
		return nil
	}
	return err
}

// drain sends what lies in the kernel after the process's end. The bound is for a descendant that has inherited the
// output and writes on: what the process wrote itself fits into the capacity.
func (o *output) drain(buf []byte, send func([]byte) error) error {
	for left := o.capacity; left > 0; {
		n, err := o.readNow(buf[:min(left, len(buf))])
		if err != nil || n == 0 {
			return err
		}
		left -= n
		if err := send(buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// readNow reads without waiting; 0 is the end or nothing there.
func (o *output) readNow(buf []byte) (n int, err error) {
	err = control(o.f, func(fd int) error {
		for {
			n, err = unix.Read(fd, buf)
			switch err { // errors of package unix are bare
			case unix.EINTR:
			case unix.EAGAIN, unix.EIO:
				n = 0
				return nil
			default:
				return err
			}
		}
	})
	return max(n, 0), err
}
