package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// tree is the directory that the guest sees: a tmpfs in the monitor's mount namespace, with each container's root and
// volumes mounted in it. It holds nothing but mount points, so that taking it away can never empty a volume.
type tree struct{ root string }

// newTree mounts the tmpfs. Its propagation is shared, so that virtiofsd, which copies the namespace when it starts and
// makes its copy a slave, sees what is mounted later.
func newTree(root string) (*tree, error) {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("runvm", root, "tmpfs", flags, "mode=0755,size=1m"); err != nil {
		return nil, fmt.Errorf("mount the shared directory: %w", err)
	}
	t := &tree{root: root}
	if err := unix.Mount("", root, "", unix.MS_SHARED, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("make the shared directory propagate: %w", err), t.close())
	}
	return t, nil
}

// close detaches the tree with everything mounted in it. virtiofsd may still pin mounts, until it ends.
func (t *tree) close() error {
	if err := unix.Unmount(t.root, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount the shared directory: %w", err)
	}
	return nil
}

// add mounts a container's root and volumes.
func (t *tree) add(m Member) error {
	base := filepath.Join(t.root, m.ID)
	if err := t.attach(m.Root, filepath.Join(base, "rootfs")); err != nil {
		return err
	}
	for _, v := range m.Mounts {
		if err := t.attach(v, filepath.Join(base, "mounts", strconv.Itoa(v.Index))); err != nil {
			return err
		}
	}
	return nil
}

// attach makes the mount detached, with its flags, and only then puts it in place: a read-only remount of a mount that
// virtiofsd's slave namespace has a copy of would not reach the copy.
func (t *tree) attach(m Mount, target string) error {
	if err := makeTarget(target, m.Dir); err != nil {
		return err
	}
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if m.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
	if err != nil {
		return fmt.Errorf("share %s: open_tree: %w", m.Source, err)
	}
	defer unix.Close(fd)
	if err := restrict(fd, m); err != nil {
		return fmt.Errorf("share %s: mount_setattr: %w", m.Source, err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("share %s: move_mount: %w", m.Source, err)
	}
	return nil
}

// restrict sets a detached mount's flags. No device node and no set-user-ID bit of a share means anything on the host;
// the guest applies its own options. The mount becomes a slave of the host's, so that host mounts made below it later
// appear and nothing made here goes back.
func restrict(fd int, m Mount) error {
	all := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_SLAVE}
	if m.RecursiveReadOnly {
		all.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &all); err != nil {
		return err
	}
	if !m.ReadOnly {
		return nil
	}
	top := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &top)
}

// makeTarget makes the mount point, a directory or an empty file, in the tree's tmpfs.
func makeTarget(path string, dir bool) error {
	parent := path
	if !dir {
		parent = filepath.Dir(path)
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if dir {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	return f.Close()
}
