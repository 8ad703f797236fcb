package executor

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Update changes the container's limits to those that resources (OCI linux.resources, JSON) names; the others stay.
func (c *Container) Update(resources []byte) error {
	var r specs.LinuxResources
	if err := json.Unmarshal(resources, &r); err != nil {
		return fmt.Errorf("%w: resources: %w", ErrInvalid, err)
	}
	config := c.lc.Config()
	group, limits := *config.Cgroups, *config.Cgroups.Resources
	group.Resources = &limits
	config.Cgroups = &group
	merge(&limits, &r)
	return c.lc.Set(config)
}

// merge follows runc's update command, except that it never forgets a quota or period.
func merge(l *cgroups.Resources, r *specs.LinuxResources) {
	// What is not named is not written, and so keeps its value in the kernel.
	l.CpuBurst, l.CPUIdle, l.PidsLimit, l.Unified = nil, nil, nil, r.Unified
	l.CpusetCpus, l.CpusetMems = "", ""
	if r.Memory != nil {
		mergeMemory(l, r.Memory)
	}
	if r.CPU != nil {
		mergeCPU(l, r.CPU)
	}
	if r.BlockIO != nil {
		mergeBlockIO(l, r.BlockIO)
	}
	if r.Pids != nil {
		l.PidsLimit = r.Pids.Limit
	}
	// Devices cannot be updated: leave the rules of the kernel as they are.
	l.SkipDevices = true
}

func mergeMemory(l *cgroups.Resources, m *specs.LinuxMemory) {
	set(&l.Memory, m.Limit)
	set(&l.MemoryReservation, m.Reservation)
	set(&l.MemorySwap, m.Swap)
	set(&l.MemoryCheckBeforeUpdate, m.CheckBeforeUpdate)
	if m.Limit != nil && *m.Limit == -1 && m.Swap == nil {
		l.MemorySwap = 0 // a limit of swap alone is refused
	}
}

func mergeCPU(l *cgroups.Resources, c *specs.LinuxCPU) {
	// The kernel's file holds both: what is not named is written again as it was.
	if quota := value(c.Quota); quota != 0 {
		l.CpuQuota = quota
	}
	if period := value(c.Period); period != 0 {
		l.CpuPeriod = period
	}
	l.CpuBurst, l.CPUIdle = c.Burst, c.Idle
	shares := c.Shares
	if c.Idle != nil && shares == nil {
		shares = new(uint64) // the kernel refuses a weight for an idle group
	}
	if shares != nil {
		l.CpuShares = *shares
		l.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*shares)
	}
	set(&l.CpuRtPeriod, c.RealtimePeriod)
	set(&l.CpuRtRuntime, c.RealtimeRuntime)
	l.CpusetCpus, l.CpusetMems = c.Cpus, c.Mems
}

func mergeBlockIO(l *cgroups.Resources, b *specs.LinuxBlockIO) {
	set(&l.BlkioWeight, b.Weight)
	set(&l.BlkioLeafWeight, b.LeafWeight)
	for _, d := range b.WeightDevice {
		l.BlkioWeightDevice = upsertWeight(l.BlkioWeightDevice, d)
	}
	l.BlkioThrottleReadBpsDevice = upsertThrottles(l.BlkioThrottleReadBpsDevice, b.ThrottleReadBpsDevice)
	l.BlkioThrottleWriteBpsDevice = upsertThrottles(l.BlkioThrottleWriteBpsDevice, b.ThrottleWriteBpsDevice)
	l.BlkioThrottleReadIOPSDevice = upsertThrottles(l.BlkioThrottleReadIOPSDevice, b.ThrottleReadIOPSDevice)
	l.BlkioThrottleWriteIOPSDevice = upsertThrottles(l.BlkioThrottleWriteIOPSDevice, b.ThrottleWriteIOPSDevice)
}

func upsertWeight(devices []*cgroups.WeightDevice, d specs.LinuxWeightDevice) []*cgroups.WeightDevice {
	devices = slices.DeleteFunc(slices.Clone(devices), func(old *cgroups.WeightDevice) bool {
		return old.Major == d.Major && old.Minor == d.Minor
	})
	return append(devices, cgroups.NewWeightDevice(d.Major, d.Minor, value(d.Weight), value(d.LeafWeight)))
}

func upsertThrottles(devices []*cgroups.ThrottleDevice, updates []specs.LinuxThrottleDevice) []*cgroups.ThrottleDevice {
	for _, d := range updates {
		devices = slices.DeleteFunc(slices.Clone(devices), func(old *cgroups.ThrottleDevice) bool {
			return old.Major == d.Major && old.Minor == d.Minor
		})
		devices = append(devices, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
	}
	return devices
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func value[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}
