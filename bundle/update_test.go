package bundle

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestMergeLimits(t *testing.T) {
	weight := uint16(100)
	old := &specs.LinuxResources{
		Memory:  &specs.LinuxMemory{Limit: new(int64(100)), Swap: new(int64(200))},
		CPU:     &specs.LinuxCPU{Quota: new(int64(50_000)), Period: new(uint64(100_000)), Cpus: "0"},
		BlockIO: &specs.LinuxBlockIO{Weight: &weight},
		Pids:    &specs.LinuxPids{Limit: new(int64(5))},
	}
	for name, tc := range map[string]struct {
		update, want specs.LinuxResources
	}{
		"nothing": {specs.LinuxResources{}, specs.LinuxResources{
			Memory:  &specs.LinuxMemory{Limit: new(int64(100)), Swap: new(int64(200))},
			CPU:     &specs.LinuxCPU{Quota: new(int64(50_000)), Period: new(uint64(100_000)), Cpus: "0"},
			BlockIO: &specs.LinuxBlockIO{Weight: &weight},
		}},
		"memory alone, CPUs forgotten": {specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: new(int64(-1))}, CPU: &specs.LinuxCPU{},
		}, specs.LinuxResources{
			Memory:  &specs.LinuxMemory{Limit: new(int64(-1)), Swap: new(int64(200))},
			CPU:     &specs.LinuxCPU{Quota: new(int64(50_000)), Period: new(uint64(100_000))},
			BlockIO: &specs.LinuxBlockIO{Weight: &weight},
		}},
		"quota without period": {specs.LinuxResources{
			CPU: &specs.LinuxCPU{Quota: new(int64(70_000)), Period: new(uint64(0)), Shares: new(uint64(7))},
		}, specs.LinuxResources{
			Memory:  &specs.LinuxMemory{Limit: new(int64(100)), Swap: new(int64(200))},
			CPU:     &specs.LinuxCPU{Quota: new(int64(70_000)), Period: new(uint64(100_000)), Shares: new(uint64(7))},
			BlockIO: &specs.LinuxBlockIO{Weight: &weight},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := MergeLimits(old, &tc.update)
			if diff := cmp.Diff(&tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if *old.Memory.Limit != 100 || old.CPU.Cpus != "0" {
		t.Error("the old limits have changed")
	}
}

func TestWithoutLimits(t *testing.T) {
	got := WithoutLimits(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(5))}})
	if *got.Memory.Limit != 5 || *got.CPU.Quota != -1 {
		t.Errorf("memory %d, quota %d; want 5 and -1", *got.Memory.Limit, *got.CPU.Quota)
	}
}
