package compat

import (
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/types"
)

// convertStats turns the statistics of a cgroup into the form that "runc events" prints. Those of network interfaces
// and of Intel RDT stay empty, as with runc where config.json configures neither.
func convertStats(s *cgroups.Stats) *types.Stats {
	return &types.Stats{
		CPU: types.Cpu{
			Usage: types.CpuUsage{
				Total: s.CpuStats.CpuUsage.TotalUsage, Kernel: s.CpuStats.CpuUsage.UsageInKernelmode,
				User: s.CpuStats.CpuUsage.UsageInUsermode, Percpu: s.CpuStats.CpuUsage.PercpuUsage,
				PercpuKernel: s.CpuStats.CpuUsage.PercpuUsageInKernelmode, PercpuUser: s.CpuStats.CpuUsage.PercpuUsageInUsermode,
			},
			Throttling: types.Throttling{
				Periods: s.CpuStats.ThrottlingData.Periods, ThrottledPeriods: s.CpuStats.ThrottlingData.ThrottledPeriods,
				ThrottledTime: s.CpuStats.ThrottlingData.ThrottledTime,
			},
			PSI: s.CpuStats.PSI,
		},
		CPUSet: types.CPUSet(s.CPUSetStats),
		Memory: types.Memory{
			Cache: s.MemoryStats.Cache, Usage: memoryEntry(s.MemoryStats.Usage), Swap: memoryEntry(s.MemoryStats.SwapUsage),
			Kernel: memoryEntry(s.MemoryStats.KernelUsage), KernelTCP: memoryEntry(s.MemoryStats.KernelTCPUsage),
			Raw: s.MemoryStats.Stats, PSI: s.MemoryStats.PSI,
		},
		Pids: types.Pids{Current: s.PidsStats.Current, Limit: s.PidsStats.Limit},
		Blkio: types.Blkio{
			IoServiceBytesRecursive: blkioEntries(s.BlkioStats.IoServiceBytesRecursive),
			IoServicedRecursive:     blkioEntries(s.BlkioStats.IoServicedRecursive),
			IoQueuedRecursive:       blkioEntries(s.BlkioStats.IoQueuedRecursive),
			IoServiceTimeRecursive:  blkioEntries(s.BlkioStats.IoServiceTimeRecursive),
			IoWaitTimeRecursive:     blkioEntries(s.BlkioStats.IoWaitTimeRecursive),
			IoMergedRecursive:       blkioEntries(s.BlkioStats.IoMergedRecursive),
			IoTimeRecursive:         blkioEntries(s.BlkioStats.IoTimeRecursive),
			SectorsRecursive:        blkioEntries(s.BlkioStats.SectorsRecursive),
			PSI:                     s.BlkioStats.PSI,
		},
		Hugetlb: hugetlbEntries(s.HugetlbStats),
	}
}

func memoryEntry(m cgroups.MemoryData) types.MemoryEntry {
	return types.MemoryEntry{Limit: m.Limit, Usage: m.Usage, Max: m.MaxUsage, Failcnt: m.Failcnt}
}

func blkioEntries(list []cgroups.BlkioStatEntry) []types.BlkioEntry {
	var entries []types.BlkioEntry
	for _, e := range list {
		entries = append(entries, types.BlkioEntry(e))
	}
	return entries
}

func hugetlbEntries(sizes map[string]cgroups.HugetlbStats) map[string]types.Hugetlb {
	entries := map[string]types.Hugetlb{}
	for size, s := range sizes {
		entries[size] = types.Hugetlb{Usage: s.Usage, Max: s.MaxUsage, Failcnt: s.Failcnt}
	}
	return entries
}
