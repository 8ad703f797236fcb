package sandbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// pruneMounts detaches every mount of this namespace that leads to none of the paths in keep and is not below one of
// them. The namespace was born as a copy of the host's: without this, every sandbox would pin the root file systems of
// all containers that ran when it started.
func pruneMounts(keep []string) error {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	// Later mounts lie on top of earlier ones.
	slices.Reverse(mounts)
	for _, m := range mounts {
		if needed(m.Mountpoint, keep) {
			continue
		}
		err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		// EINVAL: it went together with the mount that it lay on, or lies hidden below another.
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("detach %s from the sandbox's mount namespace: %w", m.Mountpoint, err)
		}
	}
	return nil
}

// needed says whether a mount point is on the way to one of the paths or below it.
func needed(mountpoint string, keep []string) bool {
	return slices.ContainsFunc(keep, func(path string) bool { return within(path, mountpoint) || within(mountpoint, path) })
}

// within says whether path is dir or lies below it.
func within(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir+"/")
}

// keepPaths are the paths that a running sandbox needs: its own, and where its programs and their libraries are.
func (c *Config) keepPaths() []string {
	keep := []string{"/proc", "/dev", "/usr", "/bin", "/lib", "/lib64"}
	for _, path := range []string{c.QEMU, c.Virtiofsd, c.Kernel, c.Initrd, c.Dirs.Shared, c.Dirs.Jail, c.Dirs.VM, c.Template} {
		if path == "" {
			continue
		}
		keep = append(keep, path)
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			keep = append(keep, resolved)
		}
	}
	return keep
}
