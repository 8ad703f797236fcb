package pod

import (
	"fmt"

	"github.com/runvm/runvm/cgroup"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/internal/pidfd"
)

// SeparateCgroup makes the sandbox's own host cgroup, beside that of its first container, with a new monitor in it. It
// has no limits but those of its parent, the pod's cgroup: the virtual machine's size bounds it, and its containers'
// limits apply in the guest.
func (p *Place) SeparateCgroup() error { return separate(p.Sandbox) }

// separate moves a sandbox's monitor, and what that has started, out of the cgroup of its first container, whose limits
// are not those of others and which goes with it.
func separate(s *container.Sandbox) error {
	if len(s.Cgroup.Paths) > 0 {
		return nil
	}
	group, err := cgroup.New(s.Name, s.Cgroup.Path, s.Cgroup.Systemd, nil, cgroup.Overhead{}, s.Monitor.PID)
	if err != nil {
		return fmt.Errorf("cgroup of the sandbox: %w", err)
	}
	s.Cgroup.Paths = group.Paths()
	if err := s.Save(); err != nil {
		return err
	}
	// What is started meanwhile by one that has not been moved yet is found the next time.
	moved := map[int]bool{}
	for {
		pids, err := pidfd.Descendants(s.Monitor.PID)
		if err != nil {
			return err
		}
		more := false
		for _, pid := range pids {
			if moved[pid] {
				continue
			}
			if err := group.Add(pid); err != nil && pidfd.Exists(pid) {
				return err
			}
			moved[pid], more = true, true
		}
		if !more {
			return nil
		}
	}
}
