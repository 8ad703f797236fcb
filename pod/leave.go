package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/cgroup"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/internal/pidfd"
	"github.com/runvm/runvm/monitor"
	"github.com/runvm/runvm/netns"
)

// killTimeout bounds how long a killed process may take to go.
const killTimeout = 10 * time.Second

// Leave removes a container whose shim has ended from its sandbox: it waits until the virtual machine has let go of it,
// and takes down what is left of the sandbox with the last one. No process of the sandbox needs to be alive. Idempotent.
func Leave(ctx context.Context, s *container.Sandbox, id string) error {
	if err := letGo(ctx, s, id); err != nil {
		return err
	}
	unlock, err := s.Lock(ctx)
	if errors.Is(err, container.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	return leave(ctx, s, id)
}

// letGo waits until the sandbox's monitor has removed the container. One that does not answer, be it stopped or hung,
// is nothing that delete could wait for: the engine's unmount says what is still in use.
func letGo(ctx context.Context, s *container.Sandbox, id string) error {
	bounded, cancel := context.WithTimeout(ctx, monitor.StopTimeout)
	defer cancel()
	if err := monitor.Remove(bounded, monitor.At(s.Dir()), id); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}

// leave does the rest. The caller has the lock.
func leave(ctx context.Context, s *container.Sandbox, id string) error {
	delete(s.Members, id)
	if len(s.Members) > 0 {
		return s.Save()
	}
	// Without a container the monitor takes its sandbox down and ends by itself.
	if err := wait(ctx, s.Monitor, monitor.StopTimeout); err != nil {
		if err := End(ctx, s.Monitor); err != nil {
			return fmt.Errorf("end the sandbox's monitor: %w", err)
		}
	}
	if len(s.Cgroup.Paths) > 0 {
		if err := DestroyCgroup(ctx, s.Name, s.Cgroup); err != nil {
			return err
		}
	}
	if s.NetNS != "" {
		if err := netns.Cleanup(s.NetNS); err != nil {
			return err
		}
	}
	return s.Remove()
}

// DestroyCgroup kills what is left in a cgroup, QEMU, virtiofsd and the shims of execs after the monitor was killed, and
// removes it.
func DestroyCgroup(ctx context.Context, id string, ref container.CgroupRef) error {
	group, err := cgroup.Open(id, ref.Path, ref.Systemd, ref.Paths)
	if err != nil {
		return err
	}
	pids, err := group.Pids()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, pid := range pids {
		p, err := pidfd.Find(pid)
		if errors.Is(err, os.ErrProcessDone) {
			continue
		}
		if err != nil {
			return err
		}
		if err := End(ctx, p); err != nil {
			return fmt.Errorf("end process %d: %w", pid, err)
		}
	}
	return group.Destroy()
}

// End kills a process and waits until it is gone.
func End(ctx context.Context, p pidfd.Process) error {
	if !p.Alive() {
		return nil
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return nil
		}
		return err
	}
	return wait(ctx, p, killTimeout)
}

func wait(ctx context.Context, p pidfd.Process, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return p.Wait(ctx)
}
