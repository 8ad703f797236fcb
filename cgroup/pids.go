package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/opencontainers/cgroups"
)

// Pids lists the processes in the cgroup and below, in no hierarchy twice. fs.ErrNotExist: there is no such cgroup.
// Not the manager's own list: on cgroup v1 it looks into the hierarchy of devices, where this cgroup is not.
func (c *Cgroup) Pids() ([]int, error) {
	found := false
	members := map[int]bool{}
	for _, path := range c.manager.GetPaths() {
		pids, err := cgroups.GetAllPids(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the processes of the host cgroup: %w", err)
		}
		found = true
		for _, pid := range pids {
			members[pid] = true
		}
	}
	if !found {
		return nil, fmt.Errorf("list the processes of the host cgroup: %w", fs.ErrNotExist)
	}
	return slices.Sorted(maps.Keys(members)), nil
}
