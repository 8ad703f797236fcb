package bundle

import (
	"io/fs"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Disk is a block device of the host that the guest gets.
type Disk struct {
	Major, Minor int64
	// Path is that of a node on the host, where the configuration names one. The guest's configuration has it as the
	// source of bind mounts of the device.
	Path     string
	ReadOnly bool   // the device rules let nobody write
	Mode     uint32 // permissions of the node for bind mounts, and its owner
	UID, GID uint32
}

// disk adds a block device to the plan, once, and returns it.
func (p *planner) disk(major, minor int64) *Disk {
	at := slices.IndexFunc(p.plan.Disks, func(d Disk) bool { return d.Major == major && d.Minor == minor })
	if at < 0 {
		at = len(p.plan.Disks)
		readOnly := !strings.Contains(blockAccess(p.bundle.Spec.Linux.Resources, major, minor), "w")
		p.plan.Disks = append(p.plan.Disks, Disk{Major: major, Minor: minor, ReadOnly: readOnly, Mode: 0o600})
	}
	return &p.plan.Disks[at]
}

// blockAccess says what a container may do with a block device, of "rwm", as its device rules add up.
func blockAccess(r *specs.LinuxResources, major, minor int64) string {
	if r == nil {
		return ""
	}
	allowed := map[rune]bool{}
	for _, rule := range r.Devices {
		if !isAbout(rule, major, minor) {
			continue
		}
		access := rule.Access
		if access == "" {
			access = "rwm"
		}
		for _, a := range access {
			allowed[a] = rule.Allow
		}
	}
	var sum strings.Builder
	for _, a := range "rwm" {
		if allowed[a] {
			sum.WriteRune(a)
		}
	}
	return sum.String()
}

// isAbout says whether a rule concerns a block device. Negative numbers are wildcards, as absent ones are.
func isAbout(r specs.LinuxDeviceCgroup, major, minor int64) bool {
	fits := func(number *int64, n int64) bool { return number == nil || *number < 0 || *number == n }
	return (r.Type == "" || r.Type == "a" || r.Type == "b") && fits(r.Major, major) && fits(r.Minor, minor)
}

// isAskedFor says whether somebody wants a privileged container to have a block device, and not just all devices of the
// host, which engines list under their own names. hostNode tells what block device a path of the host stands for.
func isAskedFor(d specs.LinuxDevice, rules []specs.LinuxDeviceCgroup, hostNode func(path string) (major, minor int64, ok bool)) bool {
	named := slices.ContainsFunc(rules, func(r specs.LinuxDeviceCgroup) bool {
		return r.Allow && r.Type == "b" && r.Major != nil && *r.Major == d.Major && r.Minor != nil && *r.Minor == d.Minor
	})
	major, minor, ok := hostNode(d.Path)
	return named || !ok || major != d.Major || minor != d.Minor
}

func hostNode(path string) (major, minor int64, ok bool) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&(fs.ModeDevice|fs.ModeCharDevice) != fs.ModeDevice {
		return 0, 0, false
	}
	major, minor = deviceNumber(info)
	return major, minor, true
}

// bindBlockDevice lets the guest bind its own node of the device in place of the host's.
func (p *planner) bindBlockDevice(resolved string, info fs.FileInfo, m *specs.Mount) *specs.Mount {
	d := p.disk(deviceNumber(info))
	if d.Path == "" {
		d.Path, d.Mode = resolved, uint32(info.Mode().Perm())
		d.UID, d.GID = owner(info)
	}
	bind := bindInGuest(m, d.Path)
	return &bind
}
