package shim

import (
	"context"
	"os"
	"os/signal"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
)

// signalQueue holds the signals that the shim has received.
type signalQueue struct {
	received chan os.Signal
	winch    chan os.Signal
}

// catchSignals takes over every signal that can be caught and means something to the guest's process.
func catchSignals() *signalQueue {
	q := &signalQueue{received: make(chan os.Signal, 128), winch: make(chan os.Signal, 1)}
	signal.Notify(q.received)
	signal.Notify(q.winch, unix.SIGWINCH)
	return q
}

// ours are signals about the shim itself: its children, its pipes, its Go runtime, its terminal.
func ours(s unix.Signal) bool {
	switch s {
	case unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG, unix.SIGWINCH, unix.SIGPROF, unix.SIGTTIN, unix.SIGTTOU:
		return true
	default:
		return false
	}
}

// signalTimeout bounds one forwarded signal; a guest that does not answer is not waited for.
const signalTimeout = 10 * time.Second

// forward sends what was received to the guest's process until ctx ends.
func (q *signalQueue) forward(ctx context.Context, agent *agentclient.Client, p *agentproto.Process, log *logrus.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case received := <-q.received:
			s, ok := received.(unix.Signal)
			if !ok || ours(s) {
				continue
			}
			call, cancel := context.WithTimeout(ctx, signalTimeout)
			_, err := agent.Agent().SignalProcess(call, &agentproto.SignalProcessRequest{Process: p, Signal: uint32(s)})
			cancel()
			if err != nil && ctx.Err() == nil {
				log.Warnf("forward signal %d: %v", s, agentclient.FromStatus(err))
			}
		}
	}
}

// sizes sends the terminal's size now and after every change.
func (q *signalQueue) sizes(ctx context.Context, terminal *os.File) <-chan agentclient.Size {
	out := make(chan agentclient.Size)
	go func() {
		defer close(out)
		for {
			w, err := unix.IoctlGetWinsize(int(terminal.Fd()), unix.TIOCGWINSZ)
			// A size of 0 is what a new pty has until somebody sets one.
			if err == nil && w.Row > 0 && w.Col > 0 {
				select {
				case out <- agentclient.Size{Height: w.Row, Width: w.Col}:
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-q.winch:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
