package bundle

import specs "github.com/opencontainers/runtime-spec/specs-go"

// SizingOf is what limits say about the size of a virtual machine that can honour them.
func SizingOf(r *specs.LinuxResources) Sizing { return sizing(r) }

// Limits are those of r that hold for a container's processes on the host, in an object of their own: memory, CPU and
// the weight of block I/O.
func Limits(r *specs.LinuxResources) *specs.LinuxResources {
	return MergeLimits(&specs.LinuxResources{}, r)
}

// MergeLimits returns old with what update names changed, as runc's update does it: what it does not name keeps its
// value, except that CPUs, burst and idleness are not remembered, since the kernel keeps them. Neither argument changes.
func MergeLimits(old, update *specs.LinuxResources) *specs.LinuxResources {
	merged := &specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, BlockIO: &specs.LinuxBlockIO{}}
	for _, r := range []*specs.LinuxResources{old, update} {
		if r == nil {
			continue
		}
		if m := r.Memory; m != nil {
			replace(&merged.Memory.Limit, m.Limit)
			replace(&merged.Memory.Swap, m.Swap)
			replace(&merged.Memory.Reservation, m.Reservation)
		}
		if c := r.CPU; c != nil {
			replaceNonZero(&merged.CPU.Quota, c.Quota)
			replaceNonZero(&merged.CPU.Period, c.Period)
			replace(&merged.CPU.Shares, c.Shares)
			merged.CPU.Cpus, merged.CPU.Mems, merged.CPU.Idle = c.Cpus, c.Mems, c.Idle
		}
		if b := r.BlockIO; b != nil {
			replace(&merged.BlockIO.Weight, b.Weight)
		}
	}
	return merged
}

// WithoutLimits is r with "no limit" said where it says nothing, so that setting it takes back what came after it.
func WithoutLimits(r *specs.LinuxResources) *specs.LinuxResources {
	none := int64(-1)
	return MergeLimits(&specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &none}, CPU: &specs.LinuxCPU{Quota: &none},
	}, r)
}

func replace[T any](to **T, from *T) {
	if from != nil {
		value := *from
		*to = &value
	}
}

// replaceNonZero takes 0 for a value that was not named, as runc does for quota and period.
func replaceNonZero[T comparable](to **T, from *T) {
	var zero T
	if from != nil && *from != zero {
		replace(to, from)
	}
}
