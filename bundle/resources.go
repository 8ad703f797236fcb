package bundle

import (
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Sizing is what the container's limits say about the size of its virtual machine.
type Sizing struct {
	MemoryBytes int64   // limit; 0 for none
	CPUs        float64 // how many CPUs' time it may use: quota by period, else the CPUs of its cpuset; 0 for no limit
}

// defaultPeriod is the kernel's CPU bandwidth period in microseconds (sched-bwc).
const defaultPeriod = 100_000

func sizing(r *specs.LinuxResources) Sizing {
	var s Sizing
	if r == nil {
		return s
	}
	if m := r.Memory; m != nil && m.Limit != nil && *m.Limit > 0 {
		s.MemoryBytes = *m.Limit
	}
	c := r.CPU
	switch {
	case c == nil:
	case c.Quota != nil && *c.Quota > 0:
		period := uint64(defaultPeriod)
		if c.Period != nil && *c.Period > 0 {
			period = *c.Period
		}
		s.CPUs = float64(*c.Quota) / float64(period)
	default:
		s.CPUs = float64(countCPUs(c.Cpus))
	}
	return s
}

// larger is what is enough for both.
func larger(a, b Sizing) Sizing {
	return Sizing{MemoryBytes: max(a.MemoryBytes, b.MemoryBytes), CPUs: max(a.CPUs, b.CPUs)}
}

// countCPUs counts the CPUs of a list such as "0-3,6", cpuset(7); 0 if it is empty or malformed, which the host's
// cgroup reports.
func countCPUs(list string) int {
	count := 0
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return 0
		}
		to, err := strconv.ParseUint(last, 10, 16)
		if err != nil || to < from {
			return 0
		}
		count += int(to-from) + 1
	}
	return count
}

// planResources keeps the limits for the guest's cgroup.
func (p *planner) planResources() {
	r := p.plan.Guest.Linux.Resources
	p.plan.Sizing = larger(sizing(r), podSizing(p.bundle.Spec.Annotations))
	if r == nil {
		return
	}
	// Engines limit every page size that the host has. The guest has no pool of huge pages, so there is nothing to
	// limit, and files for page sizes that its kernel lacks.
	for _, h := range r.HugepageLimits {
		if h.Limit > 0 && h.Limit < maxUnlimited {
			p.warnf("hugepageLimits %s: the virtual machine has no huge pages", h.Pagesize)
		}
	}
	KeepGuestLimits(r)
}

// KeepGuestLimits drops from r the limits that name parts of the host's hardware: CPUs, memory nodes and block devices
// have other numbers in the guest, and writing unknown ones to a cgroup fails. The host's cgroup, in which QEMU and
// virtiofsd run, enforces them.
func KeepGuestLimits(r *specs.LinuxResources) {
	if r.CPU != nil {
		r.CPU.Cpus, r.CPU.Mems = "", ""
	}
	if b := r.BlockIO; b != nil {
		b.WeightDevice = nil
		b.ThrottleReadBpsDevice, b.ThrottleWriteBpsDevice = nil, nil
		b.ThrottleReadIOPSDevice, b.ThrottleWriteIOPSDevice = nil, nil
	}
	r.HugepageLimits = nil
	// RDMA devices are the host's, and a control-group class of network packets means nothing to another kernel.
	r.Rdma, r.Network = nil, nil
}

// maxUnlimited is the smallest value that engines use for "no limit".
const maxUnlimited = 1 << 62

// allowsAllDevices says whether the device rules allow everything, which is how engines mark privileged containers.
func allowsAllDevices(r *specs.LinuxResources) bool {
	if r == nil {
		return false
	}
	all := false
	for _, d := range r.Devices {
		if (d.Type == "" || d.Type == "a") && d.Major == nil && d.Minor == nil {
			all = d.Allow
		}
	}
	return all
}
