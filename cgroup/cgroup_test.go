package cgroup

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestHostResources(t *testing.T) {
	limit, unlimited := int64(100<<20), int64(-1)
	quota, period, shares := int64(50_000), uint64(100_000), uint64(512)
	pids := int64(5)
	o := Overhead{MemoryBytes: 64 << 20, CPUs: 0.5}
	for name, tc := range map[string]struct {
		in   *specs.LinuxResources
		want *cgroups.Resources
	}{
		"none": {nil, &cgroups.Resources{SkipDevices: true}},
		"memory gets the overhead": {
			&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &unlimited}},
			&cgroups.Resources{SkipDevices: true, Memory: 164 << 20, MemorySwap: -1},
		},
		"cpu gets the overhead": {
			&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares, Cpus: "0"}},
			&cgroups.Resources{
				SkipDevices: true, CpuQuota: 100_000, CpuPeriod: 100_000, CpuShares: 512,
				CpuWeight: cgroups.ConvertCPUSharesToCgroupV2Value(512), CpusetCpus: "0",
			},
		},
		"a quota without a period counts in the kernel's": {
			&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota}},
			&cgroups.Resources{SkipDevices: true, CpuQuota: 100_000},
		},
		"pids are the guest's": {
			&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &pids}},
			&cgroups.Resources{SkipDevices: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, hostResources(tc.in, o)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNewConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		path    string
		systemd bool
		want    cgroups.Cgroup
	}{
		"empty":             {"", false, cgroups.Cgroup{Name: "c1"}},
		"absolute":          {"/machine/../x/c1", false, cgroups.Cgroup{Path: "/x/c1"}},
		"relative":          {"a/../../b", false, cgroups.Cgroup{Path: "b"}},
		"systemd":           {"user.slice:libpod:c1", true, cgroups.Cgroup{Systemd: true, Parent: "user.slice", ScopePrefix: "libpod", Name: "c1"}},
		"systemd and empty": {"", true, cgroups.Cgroup{Systemd: true, ScopePrefix: "runvm", Name: "c1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newConfig("c1", tc.path, tc.systemd)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, *got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := newConfig("c1", "/not/systemd", true); err == nil {
		t.Error("a plain path must be refused for systemd")
	}
}

func TestSibling(t *testing.T) {
	for name, tc := range map[string]struct {
		path    string
		systemd bool
		want    string
	}{
		"empty":             {"", false, ""},
		"empty and systemd": {"", true, ""},
		"in a pod":          {"/kubepods/pod1/c1", false, "/kubepods/pod1/runvm-x"},
		"at the top":        {"/c1", false, "/runvm-x"},
		"relative":          {"pod1/c1", false, "pod1/runvm-x"},
		"systemd":           {"kubepods-pod1.slice:crio:c1", true, "kubepods-pod1.slice:runvm:x"},
	} {
		if got := Sibling(tc.path, tc.systemd, "x"); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
