package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/runvm/runvm/agent/disks"
	"github.com/runvm/runvm/agent/executor"
	"github.com/runvm/runvm/agent/process"
	"github.com/runvm/runvm/agent/sysctl"
	"github.com/runvm/runvm/agentproto"
)

// CreateContainer implements the call.
func (s *Server) CreateContainer(
	ctx context.Context, r *agentproto.CreateContainerRequest,
) (*agentproto.CreateContainerResponse, error) {
	id := r.GetContainerId()
	if err := s.containers.claim(id); err != nil {
		return nil, err
	}
	c, release, err := s.create(ctx, r)
	if err != nil {
		s.containers.remove(id)
		return nil, toStatus(err)
	}
	s.containers.set(id, c, release)
	return &agentproto.CreateContainerResponse{Pid: uint32(c.Init.Pid)}, nil
}

// create makes the container, together with what it shares with others: the function gives its part of that back.
func (s *Server) create(
	ctx context.Context, r *agentproto.CreateContainerRequest,
) (_ *executor.Container, _ func(), err error) {
	var releases []func()
	release := func() {
		for _, f := range slices.Backward(releases) {
			f()
		}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	joined, err := s.namespaces.Join(ctx, r.GetNamespaces())
	if err != nil {
		return nil, nil, err
	}
	releases = append(releases, joined.Leave)
	for _, shm := range r.GetSharedMemory() {
		if err := s.memory.Take(shm.GetId(), shm.GetSize()); err != nil {
			return nil, nil, err
		}
		releases = append(releases, func() { logError(s.memory.Give(shm.GetId())) })
	}
	if err := sysctl.Write(r.GetGuestSysctls()); err != nil {
		return nil, nil, err
	}
	disks, err := findDisks(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.options.Executor.Create(executor.CreateOptions{
		ID: r.GetContainerId(), Spec: r.GetSpec(), Disks: disks, NoPivot: r.GetNoPivot(), NoNewKeyring: r.GetNoNewKeyring(),
		Namespaces: joined.Paths(), Sync: syncShare,
		Size:  ttySize(r.GetTtySizeSet(), r.GetConsoleHeight(), r.GetConsoleWidth()),
		Files: r.GetFiles(), NotifySocket: r.GetNotifySocket(),
	})
	if err != nil {
		return nil, nil, err
	}
	// Before the container is known to anybody, so that nobody else ends it.
	if err := joined.Made(c.Init.Pid); err != nil {
		return nil, nil, errors.Join(err, c.Delete(ctx))
	}
	return c, release, nil
}

func logError(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "runvm-agent:", err)
	}
}

func ttySize(set bool, height, width uint32) *process.Size {
	if !set {
		return nil
	}
	return &process.Size{Height: uint16(min(height, 0xffff)), Width: uint16(min(width, 0xffff))}
}

// StartContainer implements the call.
func (s *Server) StartContainer(
	_ context.Context, r *agentproto.StartContainerRequest,
) (*agentproto.StartContainerResponse, error) {
	c, err := s.containers.get(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	return &agentproto.StartContainerResponse{}, toStatus(c.Start())
}

// ExecProcess implements the call.
func (s *Server) ExecProcess(
	_ context.Context, r *agentproto.ExecProcessRequest,
) (*agentproto.ExecProcessResponse, error) {
	c, err := s.containers.claimProcess(r.GetContainerId(), r.GetExecId())
	if err != nil {
		return nil, err
	}
	p, err := c.Exec(executor.ExecOptions{
		Process: r.GetProcess(), IgnorePaused: r.GetIgnorePaused(), Cgroup: r.GetCgroup(), Files: r.GetFiles(),
		Size: ttySize(r.GetTtySizeSet(), r.GetConsoleHeight(), r.GetConsoleWidth()),
	})
	s.containers.setProcess(r.GetContainerId(), r.GetExecId(), p)
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentproto.ExecProcessResponse{Pid: uint32(p.Pid)}, nil
}

// SignalProcess implements the call.
func (s *Server) SignalProcess(
	_ context.Context, r *agentproto.SignalProcessRequest,
) (*agentproto.SignalProcessResponse, error) {
	// 0 only asks whether the process is there (kill(2)).
	if r.GetSignal() > 64 {
		return nil, status.Errorf(codes.InvalidArgument, "signal %d: want 0 to 64", r.GetSignal())
	}
	if err := s.signal(r.GetProcess(), unix.Signal(r.GetSignal()), r.GetAll()); err != nil {
		return nil, toStatus(err)
	}
	return &agentproto.SignalProcessResponse{}, nil
}

func (s *Server) signal(which *agentproto.Process, signal unix.Signal, all bool) error {
	if which.GetExecId() != "" && !all {
		p, err := s.containers.process(which)
		if err != nil {
			return err
		}
		return p.Signal(signal)
	}
	c, err := s.containers.get(which.GetContainerId())
	if err != nil {
		return err
	}
	if all {
		return c.SignalAll(signal)
	}
	return c.Signal(signal)
}

// DeleteContainer implements the call.
func (s *Server) DeleteContainer(
	ctx context.Context, r *agentproto.DeleteContainerRequest,
) (*agentproto.DeleteContainerResponse, error) {
	c, err := s.containers.get(r.GetContainerId())
	if status.Code(err) == codes.NotFound {
		return &agentproto.DeleteContainerResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := c.Delete(ctx); err != nil {
		return nil, toStatus(err)
	}
	s.containers.remove(r.GetContainerId())
	if err := errors.Join(releaseShare(c.ShareDir()), disks.RemoveNodes(r.GetContainerId())); err != nil {
		return nil, toStatus(err)
	}
	return &agentproto.DeleteContainerResponse{}, nil
}

// GetStats implements the call.
func (s *Server) GetStats(_ context.Context, r *agentproto.GetStatsRequest) (*agentproto.Stats, error) {
	c, err := s.containers.get(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	b, err := c.Stats()
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentproto.Stats{Json: b}, nil
}

// PauseContainer implements the call.
func (s *Server) PauseContainer(
	_ context.Context, r *agentproto.PauseContainerRequest,
) (*agentproto.PauseContainerResponse, error) {
	c, err := s.containers.get(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	return &agentproto.PauseContainerResponse{}, toStatus(c.Pause())
}

// ResumeContainer implements the call.
func (s *Server) ResumeContainer(
	_ context.Context, r *agentproto.ResumeContainerRequest,
) (*agentproto.ResumeContainerResponse, error) {
	c, err := s.containers.get(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	return &agentproto.ResumeContainerResponse{}, toStatus(c.Resume())
}

// UpdateContainer implements the call.
func (s *Server) UpdateContainer(
	_ context.Context, r *agentproto.UpdateContainerRequest,
) (*agentproto.UpdateContainerResponse, error) {
	c, err := s.containers.get(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	return &agentproto.UpdateContainerResponse{}, toStatus(c.Update(r.GetResources()))
}

// WatchEvents implements the call.
func (s *Server) WatchEvents(
	r *agentproto.WatchEventsRequest, stream grpc.ServerStreamingServer[agentproto.Event],
) error {
	c, err := s.containers.get(r.GetContainerId())
	if err != nil {
		return err
	}
	return toStatus(c.WatchOOM(stream.Context(), func(past bool) error {
		return stream.Send(&agentproto.Event{Kind: agentproto.Event_OOM, Past: past})
	}))
}

// ReadNotifications implements the call.
func (s *Server) ReadNotifications(
	r *agentproto.ReadNotificationsRequest, stream grpc.ServerStreamingServer[agentproto.Notification],
) error {
	c, err := s.containers.get(r.GetContainerId())
	if err != nil {
		return err
	}
	// The headers tell the host that from now on nothing is missed.
	taken := func() error { return stream.SendHeader(nil) }
	send := func(data []byte) error { return stream.Send(&agentproto.Notification{Data: data}) }
	return toStatus(c.ReadNotifications(stream.Context(), taken, send))
}
