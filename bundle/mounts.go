package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// placement is a mount that comes before others.
type placement struct {
	destination string
	share       *Share // what is mounted, if it can be seen on the host; nil if only the guest has it
}

// planMounts goes through the mounts in order. A bind of the host becomes a share and a bind of that share in the
// guest; kernel filesystems are the guest's own.
func (p *planner) planMounts() error {
	for i := range p.plan.Guest.Mounts {
		m := &p.plan.Guest.Mounts[i]
		if !filepath.IsAbs(m.Destination) {
			p.warnf("mount destination %s is not absolute. Support for non-absolute mount destinations will be "+
				"removed in a future release.", m.Destination)
		}
		m.Destination = filepath.Join("/", m.Destination)
		if err := p.planMount(m); err != nil {
			return err
		}
	}
	// runc makes the working directory before it makes the root read-only; a read-only share cannot be written then.
	cwd := filepath.Clean(p.bundle.Spec.Process.Cwd)
	if p.covering(cwd) == nil && cwd != "/" {
		p.addMountpoint(Mountpoint{Path: cwd, Dir: true})
	}
	return nil
}

func (p *planner) planMount(m *specs.Mount) error {
	if len(m.UIDMappings) > 0 || len(m.GIDMappings) > 0 || slices.Contains(m.Options, "idmap") ||
		slices.Contains(m.Options, "ridmap") {
		return unsupportedf("the mount of %s at %s is id-mapped, which is not supported yet: "+
			"leave out idmap and uidMappings", m.Source, m.Destination)
	}
	if isBind(m) {
		return p.planBind(m)
	}
	if err := checkType(m); err != nil {
		return err
	}
	if err := p.tmpfsMode(m); err != nil {
		return err
	}
	p.place(m.Destination, true, nil)
	return nil
}

// isBind says whether a mount is a bind: the options decide; a type "bind" without them is taken for it, too.
func isBind(m *specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// checkType takes the filesystems that the guest's kernel makes out of nothing.
func checkType(m *specs.Mount) error {
	kinds := []string{"proc", "sysfs", "tmpfs", "ramfs", "devpts", "mqueue", "cgroup", "cgroup2"}
	if slices.Contains(kinds, m.Type) {
		return nil
	}
	return unsupportedf("the mount of %q at %s has type %q, which is not supported yet: only bind, %s are",
		m.Source, m.Destination, m.Type, strings.Join(kinds, ", "))
}

// covering returns the last mount so far that path is properly below; nil means that path is in the root itself.
func (p *planner) covering(path string) *placement {
	for i := len(p.placed) - 1; i >= 0; i-- {
		if below(path, p.placed[i].destination) {
			return &p.placed[i]
		}
	}
	return nil
}

// below says whether the clean path is in a directory, not the directory itself.
func below(path, dir string) bool {
	return path != dir && strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// place records a mount and the mount point that it needs, as runc would make it: in the root or in the volume that
// covers it. In what only the guest has the guest makes it. share is nil for mounts that only the guest has.
func (p *planner) place(destination string, dir bool, share *Share) {
	cover := p.covering(destination)
	switch {
	case cover == nil:
		if destination != "/" {
			p.addMountpoint(Mountpoint{Path: destination, Dir: dir})
		}
	case cover.share == nil:
		if share != nil {
			share.Hidden = true
		}
		share = nil
	default:
		p.addMountpoint(Mountpoint{
			Path: filepath.Join("/", strings.TrimPrefix(destination, cover.share.Destination)), Dir: dir,
			Volume: cover.share.Source, ReadOnly: cover.share.ReadOnly || cover.share.RecursiveReadOnly,
		})
	}
	p.placed = append(p.placed, placement{destination, share})
}

func (p *planner) addMountpoint(point Mountpoint) {
	known := func(m Mountpoint) bool { return m.Path == point.Path && m.Volume == point.Volume }
	if !slices.ContainsFunc(p.plan.Mountpoints, known) {
		p.plan.Mountpoints = append(p.plan.Mountpoints, point)
	}
}

func (p *planner) planBind(m *specs.Mount) error {
	source := p.bundle.absolute(m.Source)
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("error mounting %q to rootfs at %q: %w", source, m.Destination, err)
	}
	if p.planNotify(source, m) {
		return nil
	}
	own, err := p.guestOwn(source, info, m)
	if err != nil {
		return err
	}
	if own != nil {
		*m = *own
		p.place(m.Destination, info.IsDir(), nil)
		return nil
	}
	p.share(source, info.IsDir(), m)
	return nil
}

// share adds a share and turns the mount into a bind of it in the guest.
func (p *planner) share(source string, dir bool, m *specs.Mount) {
	s := Share{
		Index: len(p.plan.Shares), Source: source, Destination: m.Destination, Dir: dir,
		ReadOnly: lastOf(m.Options, "ro", "rw"), Recursive: slices.Contains(m.Options, "rbind"),
		RecursiveReadOnly: lastOf(m.Options, "rro", "rrw"),
	}
	p.place(m.Destination, dir, &s)
	p.plan.Shares = append(p.plan.Shares, s)
	*m = bindInGuest(m, p.shareSource(s.Index))
}

// bindInGuest returns the mount with another source.
func bindInGuest(m *specs.Mount, source string) specs.Mount {
	options := slices.Clone(m.Options)
	if !slices.Contains(options, "bind") && !slices.Contains(options, "rbind") {
		options = append(options, "bind")
	}
	return specs.Mount{Destination: m.Destination, Type: "bind", Source: source, Options: options}
}

// lastOf says whether, of two options that cancel each other, set comes last.
func lastOf(options []string, set, unset string) bool {
	result := false
	for _, o := range options {
		switch o {
		case set:
			result = true
		case unset:
			result = false
		}
	}
	return result
}
