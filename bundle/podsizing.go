package bundle

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strconv"
)

// IsPause says whether the container's program is one that engines start to hold a pod's namespaces: podman's infra
// container has no annotation that would say so.
func (b *Bundle) IsPause() bool {
	args := b.Spec.Process.Args
	return slices.Equal(args, []string{"/catatonit", "-P"}) || len(args) == 1 && filepath.Base(args[0]) == "pause"
}

// Annotations with the sum of what a pod's containers may use, on the pod's own container: CRI-O's in the JSON form of
// CRI's LinuxContainerResources, containerd's each a decimal number.
const (
	crioPodResources    = "io.kubernetes.cri-o.PodLinuxResources"
	containerdCPUQuota  = "io.kubernetes.cri.sandbox-cpu-quota"
	containerdCPUPeriod = "io.kubernetes.cri.sandbox-cpu-period"
	containerdMemory    = "io.kubernetes.cri.sandbox-memory"
)

// podResources is the part of CRI's LinuxContainerResources that sizes a virtual machine.
type podResources struct {
	CPUPeriod int64 `json:"cpu_period"` // microseconds; 0 for the kernel's
	CPUQuota  int64 `json:"cpu_quota"`  // microseconds of a period; 0 or less for no limit
	Memory    int64 `json:"memory_limit_in_bytes"`
}

// podSizing reads the hints about a pod's size. They only make a virtual machine larger, so what is malformed is left
// out: limits are enforced elsewhere.
func podSizing(annotations map[string]string) Sizing {
	var r podResources
	if text := annotations[crioPodResources]; text != "" {
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			r = podResources{}
		}
	} else {
		r = podResources{
			CPUPeriod: number(annotations[containerdCPUPeriod]), CPUQuota: number(annotations[containerdCPUQuota]),
			Memory: number(annotations[containerdMemory]),
		}
	}
	var s Sizing
	if r.Memory > 0 {
		s.MemoryBytes = r.Memory
	}
	if r.CPUPeriod <= 0 {
		r.CPUPeriod = defaultPeriod
	}
	if r.CPUQuota > 0 {
		s.CPUs = float64(r.CPUQuota) / float64(r.CPUPeriod)
	}
	return s
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
