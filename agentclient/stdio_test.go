package agentclient

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/runvm/runvm/agentproto"
)

var proc = &agentproto.Process{ContainerId: "c"}

func TestAttachEchoesWithoutLoss(t *testing.T) {
	const size = 50 << 20
	input := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	c := connect(t, echo())
	var out bytes.Buffer
	started := time.Now()
	code, err := c.Attach(t.Context(), proc, Stdio{Stdin: bytes.NewReader(input), Stdout: &out})
	took := time.Since(started)
	if err != nil || code != 3 {
		t.Fatalf("code %d, err %v", code, err)
	}
	if !bytes.Equal(out.Bytes(), input) {
		t.Fatalf("%d of %d bytes came back, or others", out.Len(), size)
	}
	t.Logf("echo in process: %.0f MB/s", size/1e6/took.Seconds())
}

func TestAttachHalfClose(t *testing.T) {
	c := connect(t, echo())
	var out bytes.Buffer
	code, err := c.Attach(t.Context(), proc, Stdio{Stdout: &out}) // no stdin: closed at once
	if err != nil || code != 3 || out.Len() != 0 {
		t.Errorf("code %d, err %v, output %q", code, err, out.String())
	}
}

func TestAttachDoesNotWaitForStdin(t *testing.T) {
	r, w := io.Pipe() // nobody writes
	defer w.Close()
	c := connect(t, &fakeAgent{wait: exit(5)})
	code, err := c.Attach(t.Context(), proc, Stdio{Stdin: r})
	if err != nil || code != 5 {
		t.Errorf("code %d, err %v", code, err)
	}
}

func exit(code uint32) func(context.Context) (*agentproto.ExitStatus, error) {
	return func(context.Context) (*agentproto.ExitStatus, error) { return &agentproto.ExitStatus{Code: code}, nil }
}

func send(chunks ...string) func(grpc.ServerStreamingServer[agentproto.OutputChunk]) error {
	return func(s grpc.ServerStreamingServer[agentproto.OutputChunk]) error {
		for _, c := range chunks {
			if err := s.Send(&agentproto.OutputChunk{Data: []byte(c)}); err != nil {
				return err
			}
		}
		return nil
	}
}

// The code may be known before the output is through: nothing of it may be lost.
func TestAttachWaitsForSlowWriters(t *testing.T) {
	c := connect(t, &fakeAgent{wait: exit(0), stdout: send("a", "b", "c"), stderr: send("d")})
	out, release := &slowWriter{gate: make(chan struct{})}, make(chan struct{})
	var stderr bytes.Buffer
	go func() { <-release; close(out.gate) }()
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	code, err := c.Attach(t.Context(), proc, Stdio{Stdout: out, Stderr: &stderr})
	if err != nil || code != 0 {
		t.Fatalf("code %d, err %v", code, err)
	}
	if diff := cmp.Diff("abc/d", out.String()+"/"+stderr.String()); diff != "" {
		t.Error(diff)
	}
}

type slowWriter struct {
	bytes.Buffer
	gate chan struct{}
}

func (w *slowWriter) Write(b []byte) (int, error) {
	<-w.gate
	return w.Buffer.Write(b)
}

// A reader that goes away must reach the guest, while the other output goes on.
func TestAttachBrokenWriter(t *testing.T) {
	closed := make(chan struct{})
	f := &fakeAgent{stderr: send("still here")}
	f.stdout = func(s grpc.ServerStreamingServer[agentproto.OutputChunk]) error {
		defer close(closed)
		for {
			if err := s.Send(&agentproto.OutputChunk{Data: []byte("yes\n")}); err != nil {
				return err
			}
		}
	}
	f.wait = func(context.Context) (*agentproto.ExitStatus, error) {
		<-closed // as SIGPIPE ends the process
		return &agentproto.ExitStatus{Code: 141, Signal: 13}, nil
	}
	r, w := io.Pipe()
	_ = r.Close()
	var stderr bytes.Buffer
	code, err := connect(t, f).Attach(t.Context(), proc, Stdio{Stdout: w, Stderr: &stderr})
	if err != nil || code != 141 || stderr.String() != "still here" {
		t.Errorf("code %d, err %v, stderr %q", code, err, stderr.String())
	}
}

func TestAttachHostileAgent(t *testing.T) {
	for name, test := range map[string]struct {
		agent *fakeAgent
		want  error
	}{
		"exit code out of range": {&fakeAgent{wait: exit(70000)}, ErrInternal},
		"chunk too big":          {&fakeAgent{stdout: send(strings.Repeat("x", agentproto.MaxChunk+1))}, ErrInternal},
		"message too big":        {&fakeAgent{stdout: send(strings.Repeat("x", maxMessage+1))}, ErrInternal},
		"stream breaks": {&fakeAgent{stdout: func(grpc.ServerStreamingServer[agentproto.OutputChunk]) error {
			return status.Error(codes.DataLoss, "gone")
		}}, ErrInternal},
		"process unknown": {&fakeAgent{wait: func(context.Context) (*agentproto.ExitStatus, error) {
			return nil, status.Error(codes.NotFound, "no")
		}}, ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			_, err := connect(t, test.agent).Attach(t.Context(), proc, Stdio{Stdout: &out})
			if !errors.Is(err, test.want) {
				t.Errorf("err %v, want %v", err, test.want)
			}
			if out.Len() > agentproto.MaxChunk {
				t.Errorf("%d bytes were written", out.Len())
			}
		})
	}
}

// An output that never ends, and an agent that never answers, last as long as the caller wants.
func TestAttachEndsWithItsContext(t *testing.T) {
	f := &fakeAgent{}
	f.stdout = func(s grpc.ServerStreamingServer[agentproto.OutputChunk]) error {
		for {
			if err := s.Send(&agentproto.OutputChunk{Data: []byte("x")}); err != nil {
				return err
			}
		}
	}
	f.wait = func(ctx context.Context) (*agentproto.ExitStatus, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := connect(t, f).Attach(ctx, proc, Stdio{Stdout: io.Discard})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err %v", err)
	}
}

func TestAttachResizes(t *testing.T) {
	sizes, resized := make(chan Size), make(chan struct{})
	f := &fakeAgent{wait: func(context.Context) (*agentproto.ExitStatus, error) {
		<-resized
		return &agentproto.ExitStatus{}, nil
	}}
	go func() {
		sizes <- Size{Height: 25, Width: 80}
		sizes <- Size{Height: 50, Width: 132} // taken when the first has been sent
		close(sizes)
		close(resized)
	}()
	if _, err := connect(t, f).Attach(t.Context(), proc, Stdio{Resize: sizes}); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sizes) == 0 || f.sizes[0] != (Size{Height: 25, Width: 80}) {
		t.Errorf("sizes %v", f.sizes)
	}
}

func BenchmarkEcho(b *testing.B) {
	c := connect(b, echo())
	chunk := bytes.Repeat([]byte("x"), agentproto.MaxChunk)
	r, w := io.Pipe()
	go func() {
		for range b.N {
			_, _ = w.Write(chunk)
		}
		_ = w.Close()
	}()
	b.SetBytes(agentproto.MaxChunk)
	if _, err := c.Attach(b.Context(), proc, Stdio{Stdin: r, Stdout: io.Discard}); err != nil {
		b.Fatal(err)
	}
}
