package start

import (
	"context"
	"errors"
	"io"
	"net"
	"os"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/monitor"
	"github.com/runvm/runvm/sdnotify"
)

// Readiness waits for a container's word that it is ready, for a service manager that has asked for it (NOTIFY_SOCKET).
// The command that starts the container tells it, as with runc: a service manager listens to the processes that it has
// started. A nil Readiness waits for nothing.
type Readiness struct {
	client *agentclient.Client
	host   *net.UnixConn
	pid    int // of the container
	result chan outcome
}

type outcome struct {
	ready []byte // nil: the container ended without it
	err   error
}

// listen begins to wait if somebody wants to know. It is called before the container starts.
func listen(ctx context.Context, c *container.Container) (*Readiness, error) {
	socket := os.Getenv(sdnotify.Variable)
	if socket == "" || !c.Readiness {
		return nil, nil
	}
	host, err := sdnotify.Dial(socket)
	if err != nil {
		return nil, err
	}
	client, err := monitor.Agent(ctx, monitor.At(c.SandboxDir()))
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	r := &Readiness{client: client, host: host, pid: c.Shim.PID, result: make(chan outcome, 1)}
	started := make(chan struct{})
	go r.wait(c.ID, func() { close(started) })
	select {
	case <-started:
		return r, nil
	case o := <-r.result:
		r.Close()
		return nil, o.err
	case <-ctx.Done():
		r.Close()
		return nil, ctx.Err()
	}
}

// wait ends with the client.
func (r *Readiness) wait(id string, started func()) {
	var o outcome
	o.err = r.client.Notifications(context.Background(), id, started, func(datagram []byte) error {
		if o.ready = sdnotify.Ready(datagram); o.ready != nil {
			return io.EOF
		}
		return nil
	})
	r.result <- o
}

// Relay waits until the container is ready and passes that on, or until the container has ended. mainPID is the process
// that the service manager shall watch; 0 for the container's.
func (r *Readiness) Relay(ctx context.Context, mainPID int) error {
	if r == nil {
		return nil
	}
	defer r.Close()
	if mainPID == 0 {
		mainPID = r.pid
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case o := <-r.result:
		if o.ready == nil {
			return nil // it has ended: the service manager sees that for itself
		}
		return sdnotify.SendReady(r.host, o.ready, mainPID)
	}
}

// Close gives up.
func (r *Readiness) Close() {
	if r != nil {
		_, _ = r.client.Close(), r.host.Close()
	}
}
