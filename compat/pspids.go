package compat

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/cgroup"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/shim"
)

// hostPids returns the pids that a container's processes have on the host, as far as they have one: init and those of
// exec, each of which a shim stands for. Callers of "ps --format json" (docker top, containerd) look these pids up in
// the host's /proc, where the guest's would be strangers'.
func hostPids(g *globals.Globals, id string) ([]int, error) {
	c, err := g.Load(id)
	if err != nil {
		return nil, err
	}
	if s := c.Status(); s == container.Stopped || s == container.Creating {
		return nil, container.ErrNotRunning
	}
	pids := []int{c.Shim.PID}
	if len(c.Cgroup.Paths) == 0 {
		return pids, nil
	}
	group, err := cgroup.Open(c.ID, c.Cgroup.Path, c.Cgroup.Systemd, c.Cgroup.Paths)
	if err != nil {
		return nil, err
	}
	members, err := group.Pids()
	if err != nil {
		return nil, err
	}
	for _, pid := range members {
		ok, err := isShim(pid)
		if err != nil {
			return nil, err
		}
		if ok && pid != c.Shim.PID {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// isShim says whether a process in a container's cgroup is a shim: the environment that it was born with says so.
// QEMU, virtiofsd and the monitor are no processes of the container's.
func isShim(pid int) (bool, error) {
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return false, nil // ended meanwhile
	}
	if err != nil {
		return false, fmt.Errorf("look at process %d: %w", pid, err)
	}
	variable := []byte(shim.StageVariable + "=" + shim.Stage)
	return slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(v []byte) bool { return bytes.Equal(v, variable) }), nil
}
