package agentclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/runvm/runvm/agentproto"
)

// Size is a terminal's size in character cells.
type Size struct {
	Height, Width uint16
}

// Stdio is where a guest process's stdio goes on the host. Attach closes none of it but Files.
type Stdio struct {
	Stdin          io.Reader   // nil: the process's stdin is closed at once
	Stdout, Stderr io.Writer   // nil: that stream is not read; a process with a terminal has no Stderr
	Resize         <-chan Size // nil for a process without a terminal
	Files          []File      // that the process was given besides its stdio
}

// Attach forwards the stdio of a guest process until it has ended, and returns its exit code, 0 to 255. It returns once
// the agent has told the code and both outputs have been written to their end.
//
// A writer that fails ends its own stream only: the guest's process gets EPIPE there, as it would from runc. A Stdin
// that blocks delays nothing, but a Read of it may still be under way when Attach returns. An error means that the code
// or some output is missing; it wraps what FromStatus returns.
func (c *Client) Attach(ctx context.Context, p *agentproto.Process, s Stdio) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go c.forwardInput(ctx, p, 0, s.Stdin)
	if s.Resize != nil {
		go c.forwardSizes(ctx, p, s.Resize)
	}
	var outputs work
	var missing errorList
	for stream, w := range []io.Writer{s.Stdout, s.Stderr} {
		if w == nil {
			continue
		}
		request := &agentproto.ReadOutputRequest{Process: p, Stream: agentproto.ReadOutputRequest_Stream(stream)}
		outputs.do(func() { missing.add(c.forwardOutput(ctx, request, w)) })
	}
	for _, f := range s.Files {
		c.forwardFile(ctx, p, f, &outputs, missing.add)
	}
	code, err := c.wait(ctx, p)
	if err != nil {
		cancel()
	}
	outputs.finish()
	if err != nil {
		return 0, err
	}
	// The code is known, but output is missing: only a lost or lying guest does that.
	return code, missing.err()
}

// errorList collects errors of several goroutines.
type errorList struct {
	mu   sync.Mutex
	errs []error
}

func (l *errorList) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

func (l *errorList) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}

// wait returns the exit code of a process.
func (c *Client) wait(ctx context.Context, p *agentproto.Process) (int, error) {
	exit, err := c.agent.WaitProcess(ctx, &agentproto.WaitProcessRequest{Process: p})
	if err != nil {
		return 0, fmt.Errorf("wait for the process: %w", FromStatus(err))
	}
	if exit.GetCode() > 255 {
		return 0, fmt.Errorf("wait for the process: exit code %d: %w", exit.GetCode(), ErrInternal)
	}
	return int(exit.GetCode()), nil
}

// OOMKilled tells of a process that has ended whether the kernel killed it because memory ran out; of a container's
// init, whether it killed any process of the container.
func (c *Client) OOMKilled(ctx context.Context, p *agentproto.Process) (bool, error) {
	exit, err := c.agent.WaitProcess(ctx, &agentproto.WaitProcessRequest{Process: p})
	if err != nil {
		return false, fmt.Errorf("ask how the process ended: %w", FromStatus(err))
	}
	return exit.GetOomKilled(), nil
}

// forwardOutput copies one output to w. An error of w is not an error here.
func (c *Client) forwardOutput(ctx context.Context, which *agentproto.ReadOutputRequest, w io.Writer) error {
	// Cancelling is what closes the reading side in the guest.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.agent.ReadOutput(ctx, which)
	if err != nil {
		return outputError(which, err)
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return outputError(which, err)
		}
		if n := len(chunk.GetData()); n > agentproto.MaxChunk {
			return fmt.Errorf("read %s: a chunk of %d bytes, at most %d are allowed: %w",
				outputName(which), n, agentproto.MaxChunk, ErrInternal)
		}
		if _, err := w.Write(chunk.GetData()); err != nil {
			return nil
		}
	}
}

func outputError(which *agentproto.ReadOutputRequest, err error) error {
	return fmt.Errorf("read %s: %w", outputName(which), FromStatus(err))
}

func outputName(which *agentproto.ReadOutputRequest) string {
	if file := which.GetFile(); file != 0 {
		return fmt.Sprintf("file descriptor %d", file)
	}
	return which.GetStream().String()
}

// forwardInput copies r to the process's stdin, or to a passed file, and then closes that. Whatever goes wrong, the
// process's end or its outputs will tell: a process need not read its stdin.
func (c *Client) forwardInput(ctx context.Context, p *agentproto.Process, file uint32, r io.Reader) {
	stream, err := c.agent.WriteStdin(ctx)
	if err != nil {
		return
	}
	if err := stream.Send(&agentproto.StdinChunk{Process: p, File: file}); err != nil {
		return
	}
	defer func() { _, _ = stream.CloseAndRecv() }()
	if r == nil {
		return
	}
	buf := make([]byte, agentproto.MaxChunk)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if stream.Send(&agentproto.StdinChunk{Data: buf[:n]}) != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// forwardSizes tells the agent each size of the terminal.
func (c *Client) forwardSizes(ctx context.Context, p *agentproto.Process, sizes <-chan Size) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			// A process that has just ended has no terminal to resize.
			_, _ = c.agent.ResizeTerminal(ctx, &agentproto.ResizeTerminalRequest{
				Process: p, Height: uint32(size.Height), Width: uint32(size.Width),
			})
		}
	}
}
