package agent

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/runvm/runvm/agentproto"
)

// WriteStdin implements the call.
func (s *Server) WriteStdin(
	stream grpc.ClientStreamingServer[agentproto.StdinChunk, agentproto.WriteStdinResponse],
) error {
	chunk, err := stream.Recv()
	if err != nil {
		return err
	}
	p, err := s.containers.process(chunk.GetProcess())
	if err != nil {
		return err
	}
	next := func() ([]byte, error) {
		if chunk == nil {
			if chunk, err = stream.Recv(); err != nil {
				return nil, err
			}
		}
		data := chunk.GetData()
		chunk = nil
		if len(data) > agentproto.MaxChunk {
			return nil, status.Errorf(codes.InvalidArgument,
				"chunk of %d bytes, at most %d are allowed", len(data), agentproto.MaxChunk)
		}
		return data, nil
	}
	write := p.Write
	if file := chunk.GetFile(); file != 0 {
		write = func(ctx context.Context, next func() ([]byte, error)) (uint64, error) {
			return p.WriteFile(ctx, file, next)
		}
	}
	taken, err := write(stream.Context(), next)
	if err != nil {
		return toStatus(err)
	}
	return stream.SendAndClose(&agentproto.WriteStdinResponse{Bytes: taken})
}

// ReadOutput implements the call.
func (s *Server) ReadOutput(
	r *agentproto.ReadOutputRequest, stream grpc.ServerStreamingServer[agentproto.OutputChunk],
) error {
	p, err := s.containers.process(r.GetProcess())
	if err != nil {
		return err
	}
	var chunk agentproto.OutputChunk
	send := func(data []byte) error {
		chunk.Data = data
		return stream.Send(&chunk) // copies
	}
	if file := r.GetFile(); file != 0 {
		return toStatus(p.ReadFile(stream.Context(), file, send))
	}
	return toStatus(p.Read(stream.Context(), int(r.GetStream()), send))
}

// Connect implements the call.
func (s *Server) Connect(ctx context.Context, r *agentproto.ConnectRequest) (*agentproto.ConnectResponse, error) {
	p, err := s.containers.process(r.GetProcess())
	if err != nil {
		return nil, err
	}
	file, err := p.Connect(ctx, r.GetFile())
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentproto.ConnectResponse{File: file}, nil
}

// WaitProcess implements the call.
func (s *Server) WaitProcess(ctx context.Context, r *agentproto.WaitProcessRequest) (*agentproto.ExitStatus, error) {
	p, err := s.containers.process(r.GetProcess())
	if err != nil {
		return nil, err
	}
	exit, err := p.Wait(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentproto.ExitStatus{Code: uint32(exit.Code), Signal: uint32(exit.Signal), OomKilled: exit.OOMKilled}, nil
}

// ResizeTerminal implements the call.
func (s *Server) ResizeTerminal(
	_ context.Context, r *agentproto.ResizeTerminalRequest,
) (*agentproto.ResizeTerminalResponse, error) {
	p, err := s.containers.process(r.GetProcess())
	if err != nil {
		return nil, err
	}
	size := ttySize(true, r.GetHeight(), r.GetWidth())
	return &agentproto.ResizeTerminalResponse{}, toStatus(p.Resize(*size))
}
