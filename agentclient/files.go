package agentclient

import (
	"context"
	"io"
	"sync"

	"github.com/runvm/runvm/agentproto"
)

// File is a descriptor of the host's caller that a guest process has a stand-in of. What it cannot do is nil.
type File struct {
	Number uint32 // of the descriptor in the guest process
	// In is what the process reads. Attach closes it when nothing more is taken from it.
	In io.ReadCloser
	// Out is what the process writes to. Attach closes it when the process has closed its side.
	Out io.WriteCloser
	// Accept waits for the next connection to a listening socket. Connections are handled as In and Out.
	Accept func() (in io.ReadCloser, out io.WriteCloser, err error)
}

// work counts what must be over before Attach returns. Nothing begins once finish was called.
type work struct {
	mu       sync.Mutex
	finished bool
	group    sync.WaitGroup
}

// do runs f in a goroutine, unless it is too late.
func (w *work) do(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.finished {
		w.group.Go(f)
	}
	return !w.finished
}

func (w *work) finish() {
	w.mu.Lock()
	w.finished = true
	w.mu.Unlock()
	w.group.Wait()
}

// forwardFile forwards what a passed file carries. What the process writes is work to be waited for. failed is told of
// output that is missing.
func (c *Client) forwardFile(ctx context.Context, p *agentproto.Process, f File, w *work, failed func(error)) {
	if f.Accept != nil {
		go c.forwardConnections(ctx, p, f, w)
		return
	}
	c.forwardBoth(ctx, p, f, w, failed)
}

func (c *Client) forwardBoth(ctx context.Context, p *agentproto.Process, f File, w *work, failed func(error)) bool {
	if f.In != nil {
		go func() {
			defer f.In.Close()
			c.forwardInput(ctx, p, f.Number, f.In)
		}()
	}
	if f.Out == nil {
		return true
	}
	return w.do(func() {
		defer f.Out.Close()
		err := c.forwardOutput(ctx, &agentproto.ReadOutputRequest{Process: p, File: f.Number}, f.Out)
		if err != nil {
			failed(err)
		}
	})
}

// forwardConnections makes a connection in the guest for each one on the host, until the host's socket fails.
func (c *Client) forwardConnections(ctx context.Context, p *agentproto.Process, f File, w *work) {
	for ctx.Err() == nil {
		in, out, err := f.Accept()
		if err != nil {
			return
		}
		answer, err := c.agent.Connect(ctx, &agentproto.ConnectRequest{Process: p, File: f.Number})
		if err == nil {
			// A connection that breaks is the two ends' affair, not missing output of the process.
			ignore := func(error) {}
			if c.forwardBoth(ctx, p, File{Number: answer.GetFile(), In: in, Out: out}, w, ignore) {
				continue
			}
		}
		// Nobody listens in the guest any more, or the process has ended.
		_, _ = in.Close(), out.Close()
	}
}
