// Package cgroup is the host cgroup of a container: where QEMU, virtiofsd, the monitor and the shims are. create makes
// it with the container's limits plus an overhead, delete removes it. The exact limits apply in the guest.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Overhead is what the processes on the host may use beyond the container's limit.
type Overhead struct {
	MemoryBytes int64
	CPUs        float64
}

// defaultPeriod is the kernel's cpu.cfs_period_us.
const defaultPeriod = 100_000

// Cgroup is a container's cgroup on the host.
type Cgroup struct {
	manager cgroups.Manager
}

// ErrInUse says that a cgroup has processes already: they are not ours to limit, and delete would kill them.
var ErrInUse = errors.New("container's cgroup is not empty")

// New makes the cgroup that path (linux.cgroupsPath; may be empty) names for container id, with limits, and moves its
// first member into it (systemd makes no scope without one). The caller calls Destroy, once the member has ended, when
// this or a later step fails: what is returned beside an error may be there in part. ErrInUse: nothing was touched.
func New(id, path string, systemd bool, r *specs.LinuxResources, o Overhead, pid int) (*Cgroup, error) {
	config, err := newConfig(id, path, systemd)
	if err != nil {
		return nil, err
	}
	config.Resources = hostResources(r, o)
	m, err := manager.New(config)
	if err != nil {
		return nil, fmt.Errorf("host cgroup: %w", err)
	}
	if err := checkUnused(m.GetPaths()); err != nil {
		return nil, err
	}
	c := &Cgroup{manager: m}
	if err := m.Apply(pid); err != nil {
		return c, fmt.Errorf("make host cgroup: %w", err)
	}
	if err := m.Set(config.Resources); err != nil {
		return c, fmt.Errorf("set limits of host cgroup: %w", err)
	}
	return c, nil
}

// Set changes the limits. A memory limit that the processes on the host exceed already stays as it was, which Set tells
// with ErrBusy after setting the rest: the guest gives its memory back in its own time.
func (c *Cgroup) Set(r *specs.LinuxResources, o Overhead) error {
	resources := hostResources(r, o)
	err := c.manager.Set(resources)
	if !errors.Is(err, unix.EBUSY) {
		if err != nil {
			err = fmt.Errorf("set limits of host cgroup: %w", err)
		}
		return err
	}
	resources.Memory, resources.MemorySwap, resources.MemoryReservation = 0, 0, 0
	if err := c.manager.Set(resources); err != nil {
		return fmt.Errorf("set limits of host cgroup: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrBusy, err)
}

// ErrBusy says that a memory limit was not lowered, because more is in use.
var ErrBusy = errors.New("the host cgroup keeps its memory limit")

// checkUnused refuses cgroups that have processes, in any hierarchy.
func checkUnused(paths map[string]string) error {
	for _, path := range paths {
		pids, err := cgroups.GetPids(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look into host cgroup: %w", err)
		}
		if len(pids) > 0 {
			return fmt.Errorf("%w: %d process(es) found in %s", ErrInUse, len(pids), path)
		}
	}
	return nil
}

// Open finds a cgroup made before by what Paths returned.
func Open(id, path string, systemd bool, paths map[string]string) (*Cgroup, error) {
	config, err := newConfig(id, path, systemd)
	if err != nil {
		return nil, err
	}
	config.Resources = hostResources(nil, Overhead{})
	m, err := manager.NewWithPaths(config, paths)
	if err != nil {
		return nil, fmt.Errorf("host cgroup: %w", err)
	}
	return &Cgroup{manager: m}, nil
}

// newConfig locates the cgroup as runc does: a plain path for cgroupfs, slice:prefix:name for systemd.
func newConfig(id, path string, systemd bool) (*cgroups.Cgroup, error) {
	c := &cgroups.Cgroup{Systemd: systemd}
	switch {
	case systemd && path == "":
		c.ScopePrefix, c.Name = "runvm", id
	case systemd:
		parts := strings.Split(path, ":")
		if len(parts) != 3 {
			return nil, fmt.Errorf("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got %q instead", path)
		}
		c.Parent, c.ScopePrefix, c.Name = parts[0], parts[1], parts[2]
	case path == "":
		c.Name = id
	case filepath.Clean("/"+path) == "/":
		return nil, fmt.Errorf("cgroupsPath %q is the root cgroup, which belongs to the host", path)
	default:
		c.Path = filepath.Clean("/" + path)
		if !filepath.IsAbs(path) {
			c.Path = strings.TrimPrefix(c.Path, "/")
		}
	}
	return c, nil
}

// Sibling is the cgroupsPath of a cgroup of that name beside the one that path names; empty leaves the place to New.
func Sibling(path string, systemd bool, name string) string {
	switch {
	case path == "":
		return ""
	case systemd:
		slice, _, _ := strings.Cut(path, ":")
		return slice + ":runvm:" + name
	default:
		return filepath.Join(filepath.Dir(path), "runvm-"+name)
	}
}

// hostResources turns a container's limits into those of the processes that carry its VM. Devices and pids are left
// out: QEMU needs its own, and both are enforced in the guest.
func hostResources(r *specs.LinuxResources, o Overhead) *cgroups.Resources {
	h := &cgroups.Resources{SkipDevices: true}
	if r == nil {
		return h
	}
	if m := r.Memory; m != nil {
		h.Memory = plus(m.Limit, o.MemoryBytes)
		h.MemorySwap = plus(m.Swap, o.MemoryBytes)
		h.MemoryReservation = plus(m.Reservation, 0)
	}
	if c := r.CPU; c != nil {
		if c.Shares != nil {
			h.CpuShares = *c.Shares
			h.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*c.Shares)
		}
		if c.Period != nil {
			h.CpuPeriod = *c.Period
		}
		if c.Quota != nil && *c.Quota > 0 {
			period := h.CpuPeriod
			if period == 0 {
				period = defaultPeriod
			}
			h.CpuQuota = *c.Quota
			if more := int64(o.CPUs * float64(period)); *c.Quota < math.MaxInt64-more {
				h.CpuQuota += more
			}
		}
		h.CpusetCpus, h.CpusetMems, h.CPUIdle = c.Cpus, c.Mems, c.Idle
	}
	if b := r.BlockIO; b != nil && b.Weight != nil {
		h.BlkioWeight = *b.Weight
	}
	return h
}

// Unlimited and everything above is no limit of memory, in bytes: engines write the largest number that they know, and
// the kernel shows its own "no limit" as one just below 2^63.
const Unlimited = 1 << 62

// plus adds an overhead to a limit; nil means no limit was asked for and 0 or less that there is none.
func plus(limit *int64, overhead int64) int64 {
	if limit == nil {
		return 0
	}
	switch {
	case *limit <= 0:
		return *limit
	case *limit >= Unlimited:
		return -1
	default:
		return *limit + overhead
	}
}

// Paths locates the cgroup for Open: controller, or "" on cgroup v2, to an absolute directory.
func (c *Cgroup) Paths() map[string]string { return c.manager.GetPaths() }

// MemoryPath is the directory of the memory controller, empty if the host has none.
func (c *Cgroup) MemoryPath() string {
	paths := c.Paths()
	if dir, ok := paths["memory"]; ok {
		return dir
	}
	return paths[""]
}

// Add moves a process into the cgroup; its later children are born there.
func (c *Cgroup) Add(pid int) error {
	if err := c.manager.Apply(pid); err != nil {
		return fmt.Errorf("move process %d into the host cgroup: %w", pid, err)
	}
	return nil
}

// Kill sends SIGKILL to every process in the cgroup.
func (c *Cgroup) Kill() error {
	pids, err := c.Pids()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	return nil
}

// Destroy removes the cgroup. Nobody may be in it. Idempotent.
func (c *Cgroup) Destroy() error {
	if err := c.manager.Destroy(); err != nil {
		return fmt.Errorf("remove host cgroup: %w", err)
	}
	return nil
}
