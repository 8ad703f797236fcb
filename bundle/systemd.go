package bundle

import (
	"path/filepath"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const (
	cgroupDir     = "/sys/fs/cgroup"
	systemdCgroup = cgroupDir + "/systemd"
)

// planSystemd gives a systemd in the container the cgroups that it needs. On a host with cgroup v1 engines bind systemd's
// own hierarchy, writable, over a read-only mount of the others; in the guest, which has v2, that is the one there is.
func (p *planner) planSystemd() error {
	g := p.plan.Guest
	writable := false
	g.Mounts = slices.DeleteFunc(g.Mounts, func(m specs.Mount) bool {
		source := filepath.Clean(m.Source)
		systemd := isBind(&m) && filepath.Join("/", m.Destination) == systemdCgroup &&
			(source == systemdCgroup || below(source, systemdCgroup))
		writable = writable || systemd && !lastOf(m.Options, "ro", "rw")
		return systemd
	})
	if !writable {
		return nil
	}
	for i := range g.Mounts {
		if m := &g.Mounts[i]; m.Type == "cgroup" && filepath.Clean(m.Destination) == cgroupDir {
			m.Options = append(slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "ro" }), "rw")
		}
	}
	return nil
}
