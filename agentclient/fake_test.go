package agentclient

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/runvm/runvm/agentproto"
)

// fakeAgent is an agent with one process. What a test does not set does nothing.
type fakeAgent struct {
	agentproto.UnimplementedAgentServer
	hello  *agentproto.Hello
	stdout func(grpc.ServerStreamingServer[agentproto.OutputChunk]) error
	stderr func(grpc.ServerStreamingServer[agentproto.OutputChunk]) error
	stdin  func(grpc.ClientStreamingServer[agentproto.StdinChunk, agentproto.WriteStdinResponse]) error
	wait   func(context.Context) (*agentproto.ExitStatus, error)

	mu    sync.Mutex
	sizes []Size
}

func (f *fakeAgent) GetHello(context.Context, *agentproto.GetHelloRequest) (*agentproto.Hello, error) {
	if f.hello != nil {
		return f.hello, nil
	}
	return &agentproto.Hello{Protocol: agentproto.Protocol, Version: "test"}, nil
}

func (f *fakeAgent) ReadOutput(
	r *agentproto.ReadOutputRequest, s grpc.ServerStreamingServer[agentproto.OutputChunk],
) error {
	read := f.stdout
	if r.GetStream() == agentproto.ReadOutputRequest_STDERR {
		read = f.stderr
	}
	if read == nil {
		return nil
	}
	return read(s)
}

func (f *fakeAgent) WriteStdin(
	s grpc.ClientStreamingServer[agentproto.StdinChunk, agentproto.WriteStdinResponse],
) error {
	if f.stdin == nil {
		return s.SendAndClose(&agentproto.WriteStdinResponse{})
	}
	return f.stdin(s)
}

func (f *fakeAgent) WaitProcess(ctx context.Context, _ *agentproto.WaitProcessRequest) (*agentproto.ExitStatus, error) {
	if f.wait == nil {
		return &agentproto.ExitStatus{}, nil
	}
	return f.wait(ctx)
}

func (f *fakeAgent) ResizeTerminal(
	_ context.Context, r *agentproto.ResizeTerminalRequest,
) (*agentproto.ResizeTerminalResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sizes = append(f.sizes, Size{Height: uint16(r.GetHeight()), Width: uint16(r.GetWidth())})
	return &agentproto.ResizeTerminalResponse{}, nil
}

// serve serves an agent in this process and returns a dialer to it.
func serve(t testing.TB, f agentproto.AgentServer) Dialer {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(2*window), grpc.MaxSendMsgSize(64<<20))
	agentproto.RegisterAgentServer(server, f)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return func(ctx context.Context) (net.Conn, error) { return l.DialContext(ctx) }
}

func connect(t testing.TB, f agentproto.AgentServer) *Client {
	t.Helper()
	c, err := Dial(t.Context(), serve(t, f))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// echo is a process that copies its stdin to its stdout and ends.
func echo() *fakeAgent {
	data, ended := make(chan []byte), make(chan struct{})
	f := &fakeAgent{}
	f.stdin = func(s grpc.ClientStreamingServer[agentproto.StdinChunk, agentproto.WriteStdinResponse]) error {
		defer close(data)
		for {
			chunk, err := s.Recv()
			if errors.Is(err, io.EOF) {
				return s.SendAndClose(&agentproto.WriteStdinResponse{})
			}
			if err != nil {
				return err
			}
			data <- chunk.GetData()
		}
	}
	f.stdout = func(s grpc.ServerStreamingServer[agentproto.OutputChunk]) error {
		defer close(ended)
		for d := range data {
			if err := s.Send(&agentproto.OutputChunk{Data: d}); err != nil {
				return err
			}
		}
		return nil
	}
	f.wait = func(ctx context.Context) (*agentproto.ExitStatus, error) {
		select {
		case <-ended:
			return &agentproto.ExitStatus{Code: 3}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return f
}
