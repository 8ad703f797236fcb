package bundle

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestPodSizing(t *testing.T) {
	for name, tc := range map[string]struct {
		annotations map[string]string
		want        Sizing
	}{
		"none": {nil, Sizing{}},
		"CRI-O": {
			map[string]string{crioPodResources: `{"cpu_period":50000,"cpu_quota":100000,"cpu_shares":3,"memory_limit_in_bytes":1073741824}`},
			Sizing{MemoryBytes: 1 << 30, CPUs: 2},
		},
		"CRI-O without limits": {map[string]string{crioPodResources: `{"cpu_quota":-1}`}, Sizing{}},
		"containerd": {
			map[string]string{containerdCPUQuota: "150000", containerdMemory: "2147483648"},
			Sizing{MemoryBytes: 2 << 30, CPUs: 1.5},
		},
		"malformed": {map[string]string{crioPodResources: `{"memory_limit_in_bytes":"much"}`}, Sizing{}},
		"numbers":   {map[string]string{containerdCPUQuota: "x", containerdMemory: "-5"}, Sizing{}},
	} {
		if got := podSizing(tc.annotations); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// TestPlanSizesPod: a virtual machine is as large as its first container or its pod needs.
func TestPlanSizesPod(t *testing.T) {
	limit := int64(1 << 30)
	plan, err := planOf(t, func(b *Bundle) {
		b.Spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
		b.Spec.Annotations = map[string]string{containerdCPUQuota: "300000", containerdMemory: "1000"}
	})
	if err != nil || plan.Sizing != (Sizing{MemoryBytes: limit, CPUs: 3}) {
		t.Errorf("%+v, %v", plan.Sizing, err)
	}
}

func TestIsPause(t *testing.T) {
	for args, want := range map[string]bool{
		"/catatonit -P": true, "/pause": true, "/usr/bin/pause": true,
		"/catatonit": false, "/catatonit -- sleep": false, "pause 5": false, "sleep": false,
	} {
		b := &Bundle{Spec: &specs.Spec{Process: &specs.Process{Args: strings.Fields(args)}}}
		if got := b.IsPause(); got != want {
			t.Errorf("%s: %v", args, got)
		}
	}
}

func FuzzPodSizing(f *testing.F) {
	f.Add(`{"cpu_period":1,"cpu_quota":1}`, "1")
	f.Fuzz(func(t *testing.T, crio, memory string) {
		for _, s := range []Sizing{
			podSizing(map[string]string{crioPodResources: crio}),
			podSizing(map[string]string{containerdMemory: memory, containerdCPUQuota: crio}),
		} {
			if s.MemoryBytes < 0 || s.CPUs < 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}
