package shim

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/internal/hostoom"
)

// oomFile is the file that conmon makes for podman and CRI-O.
const oomFile = "oom"

// oomReport tells engines that the guest's kernel has killed a process of the container for memory. Both ways are
// opened while the shim still has the host's files in reach.
type oomReport struct {
	group *hostoom.Group // nil: nobody watches the cgroup
	dir   *os.File       // nil: nobody looks for the file
}

// openOOM opens what the configuration names. The caller calls close.
func openOOM(c Config) (*oomReport, error) {
	r := &oomReport{}
	var err error
	if c.MemoryCgroup != "" {
		if r.group, err = hostoom.Open(c.MemoryCgroup); err != nil {
			return r, err
		}
	}
	if c.OOMDir != "" {
		r.dir, err = os.OpenFile(c.OOMDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	return r, err
}

func (r *oomReport) close() {
	_ = r.group.Close()
	if r.dir != nil {
		_ = r.dir.Close()
	}
}

// send makes the file, and the event in the cgroup. No VM may be left in the cgroup: the kernel would rather take that.
func (r *oomReport) send() error {
	var errs []error
	if r.dir != nil {
		fd, err := unix.Openat(int(r.dir.Fd()), oomFile, unix.O_CREAT|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		if err == nil {
			err = unix.Close(fd)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("make %s/%s: %w", r.dir.Name(), oomFile, err))
		}
	}
	if r.group != nil {
		errs = append(errs, r.group.Kill())
	}
	return errors.Join(errs...)
}

// outOfMemory tells of a container that has ended whether the guest's kernel killed any of its processes for memory.
func (s *session) outOfMemory(ctx context.Context, log *logrus.Logger) bool {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	killed, err := s.agent.OOMKilled(ctx, s.process)
	if err != nil {
		log.Warnf("container %s: %v", s.config.ContainerID, err)
	}
	return killed
}
