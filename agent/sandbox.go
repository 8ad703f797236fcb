package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/runvm/runvm/agent/inodes"
	"github.com/runvm/runvm/agentproto"
)

// shareTypes are the kinds of share that the agent can mount, if the kernel can.
var shareTypes = []string{"virtiofs", "9p"}

// GetHello implements the call.
func (s *Server) GetHello(context.Context, *agentproto.GetHelloRequest) (*agentproto.Hello, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, toStatus(err)
	}
	bootID, err := s.bootID()
	if err != nil {
		return nil, toStatus(err)
	}
	filesystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentproto.Hello{
		Protocol: agentproto.Protocol, Version: s.options.Version,
		KernelRelease: unix.ByteSliceToString(name.Release[:]), BootId: bootID,
		Filesystems: mountable(string(filesystems)),
	}, nil
}

// bootID is the kernel's boot id, once ConfigureSandbox has been called: the kernel draws it when it is first read, and
// clones of one template must not draw the same.
func (s *Server) bootID() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.configured {
		return "", nil
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}

// mountable picks the share types out of the text of /proc/filesystems.
func mountable(filesystems string) []string {
	known := strings.Fields(filesystems)
	return slices.DeleteFunc(slices.Clone(shareTypes), func(kind string) bool { return !slices.Contains(known, kind) })
}

// ConfigureSandbox implements the call.
func (s *Server) ConfigureSandbox(
	ctx context.Context, r *agentproto.ConfigureSandboxRequest,
) (*agentproto.ConfigureSandboxResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.configured {
		return nil, status.Error(codes.FailedPrecondition, "the sandbox is configured already")
	}
	// First of all: nothing random may be drawn before a clone differs from its template.
	if err := addEntropy(r.GetEntropy()); err != nil {
		return nil, toStatus(err)
	}
	if err := setClock(r.GetUnixTimeNs()); err != nil {
		return nil, toStatus(err)
	}
	if h := r.GetHostname(); h != "" {
		if err := unix.Sethostname([]byte(h)); err != nil {
			return nil, toStatus(fmt.Errorf("set hostname %q: %w", h, err))
		}
	}
	if share := r.GetShare(); share != nil {
		if err := mountShare(ctx, share); err != nil {
			return nil, toStatus(err)
		}
		s.shared = true
		if share.GetMaxInodes() > 0 {
			go guardInodes(share.GetMaxInodes())
		}
	}
	s.configured = true
	return &agentproto.ConfigureSandboxResponse{}, nil
}

// guardInodes runs as long as the guest. Its failure costs nothing but the bound.
func guardInodes(limit uint64) {
	if err := inodes.Guard(context.Background(), limit); err != nil {
		fmt.Fprintln(os.Stderr, "runvm-agent: bound the inode cache:", err)
	}
}

func setClock(unixNano int64) error {
	if unixNano == 0 {
		return nil
	}
	now := unix.NsecToTimespec(unixNano)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}

// syncShare writes back what was written to the share and returns when the host has it. Without a share it has nothing
// to do.
func syncShare() error {
	f, err := os.Open(agentproto.SharedDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// unmountShare lets go of the share, so that the host may take it away.
func (s *Server) unmountShare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	unix.Sync()
	if s.shared {
		_ = unix.Unmount(agentproto.SharedDir, unix.MNT_DETACH)
		s.shared = false
	}
}
