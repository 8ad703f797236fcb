package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Disk is a block device under its two names: what the spec calls it, which is the host's, and what it is here.
type Disk struct {
	HostMajor, HostMinor int64
	HostPath             string
	Major, Minor         int64
	Path                 string // of a node in the guest
}

// translateDisks puts the guest's numbers and paths of block devices in place of the host's. A number of the host that is
// none of the disks' may be another container's disk here, so nothing may be left of it.
func translateDisks(spec *specs.Spec, disks []Disk) error {
	for i := range spec.Linux.Devices {
		d := &spec.Linux.Devices[i]
		if d.Type != "b" {
			continue
		}
		at := slices.IndexFunc(disks, func(k Disk) bool { return k.HostMajor == d.Major && k.HostMinor == d.Minor })
		if at < 0 {
			return fmt.Errorf("%w: block device %s (b %d:%d) has not been plugged in", ErrInvalid, d.Path, d.Major, d.Minor)
		}
		d.Major, d.Minor = disks[at].Major, disks[at].Minor
	}
	if r := spec.Linux.Resources; r != nil {
		r.Devices = translateRules(r.Devices, disks)
	}
	for i := range spec.Mounts {
		for _, k := range disks {
			if m := &spec.Mounts[i]; m.Type == "bind" && m.Source == k.HostPath {
				m.Source = k.Path
			}
		}
	}
	if hasNamespace(spec, specs.UserNamespace) {
		return makeBindableNodes(spec.Linux.Devices)
	}
	return nil
}

// translateRules keeps the rules for character devices and those for everything. One for block devices becomes one for
// each disk that it is about.
func translateRules(rules []specs.LinuxDeviceCgroup, disks []Disk) []specs.LinuxDeviceCgroup {
	var out []specs.LinuxDeviceCgroup
	fits := func(number *int64, n int64) bool { return number == nil || *number < 0 || *number == n }
	for _, r := range rules {
		everything := (r.Type == "" || r.Type == "a") && r.Major == nil && r.Minor == nil
		if everything || r.Type == "c" {
			out = append(out, r)
			continue
		}
		if r.Type != "b" { // the numbers of both kinds
			character := r
			character.Type = "c"
			out = append(out, character)
		}
		for _, k := range disks {
			if fits(r.Major, k.HostMajor) && fits(r.Minor, k.HostMinor) {
				block := r
				block.Type, block.Major, block.Minor = "b", &k.Major, &k.Minor
				out = append(out, block)
			}
		}
	}
	return out
}

// makeBindableNodes makes nodes in the guest's own /dev, owned as on the host: libcontainer binds those into a container
// with a user namespace, which may not make any (libcontainer/rootfs_linux.go, bindMountDeviceNode).
func makeBindableNodes(devices []specs.LinuxDevice) error {
	for _, d := range devices {
		if d.Type != "b" && d.Type != "c" && d.Type != "u" {
			continue
		}
		if err := makeBindableNode(d); err != nil {
			return fmt.Errorf("make device %s: %w", d.Path, err)
		}
	}
	return nil
}

func makeBindableNode(d specs.LinuxDevice) error {
	kind := uint32(unix.S_IFCHR)
	if d.Type == "b" {
		kind = unix.S_IFBLK
	}
	number := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	var st unix.Stat_t
	err := unix.Lstat(d.Path, &st)
	if err == nil && (st.Mode&unix.S_IFMT != kind || st.Rdev != number) {
		// Here another device has the name.
		err = errors.Join(os.Remove(d.Path), unix.ENOENT)
	}
	if errors.Is(err, unix.ENOENT) {
		if err := os.MkdirAll(filepath.Dir(d.Path), 0o755); err != nil {
			return err
		}
		err = unix.Mknod(d.Path, kind|0o600, int(number))
	}
	if err != nil {
		return err
	}
	mode := os.FileMode(0o666) // runc's default
	if d.FileMode != nil {
		mode = d.FileMode.Perm()
	}
	var uid, gid int
	if d.UID != nil {
		uid = int(*d.UID)
	}
	if d.GID != nil {
		gid = int(*d.GID)
	}
	return errors.Join(os.Chown(d.Path, uid, gid), os.Chmod(d.Path, mode))
}
