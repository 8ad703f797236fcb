package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// enterView makes the container's root the root of this mount namespace. The namespace first becomes a slave of the
// host's: nothing mounted here shows anywhere else. PID 1 of the new PID namespace is this process, and the procfs
// mounted last shows nobody else.
func enterView(v View) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("detach the mount namespace from the host's: %w", err)
	}
	root, err := cloneMount(v.Rootfs, true, v.ReadOnly)
	if err != nil {
		return fmt.Errorf("root filesystem %s: %w", v.Rootfs, err)
	}
	defer unix.Close(root)
	// Over the bundle's own root: the one directory that exists for sure and is not in use for something else.
	if err := unix.MoveMount(root, "", unix.AT_FDCWD, v.Rootfs, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("root filesystem %s: %w", v.Rootfs, err)
	}
	for _, volume := range v.Volumes {
		if err := mountVolume(v.Rootfs, volume); err != nil {
			return fmt.Errorf("volume %s: %w", volume.Destination, err)
		}
	}
	if err := mountProc(v.Rootfs); err != nil {
		return err
	}
	return pivot(v.Rootfs)
}

// cloneMount returns a detached copy of the mount at path. Nobody executes anything in the view, so device nodes and
// set-user-ID bits mean nothing in it.
func cloneMount(path string, recursive, readOnly bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, flags)
	if err != nil {
		return -1, fmt.Errorf("open_tree: %w", err)
	}
	all := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID}
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &all)
	if err == nil && readOnly {
		top := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &top)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("mount_setattr: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// mountVolume puts a volume at its destination inside root, which the container's image may have filled with links.
func mountVolume(root string, v Volume) error {
	target, err := openInRoot(root, v.Destination)
	if err != nil {
		return err
	}
	defer target.Close()
	fd, err := cloneMount(v.Source, v.Recursive, v.ReadOnly)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.MoveMount(fd, "", int(target.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// openInRoot resolves path as if root were "/".
func openInRoot(root, path string) (*os.File, error) {
	dir, err := pathrs.OpenInRoot(root, path)
	if err != nil {
		return nil, fmt.Errorf("resolve: %w", err)
	}
	return dir, nil
}

// mountProc mounts a procfs of this process's own PID namespace where the container has its.
func mountProc(root string) error {
	target, err := openInRoot(root, "/proc")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer target.Close()
	fsfd, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("procfs: fsopen: %w", err)
	}
	defer unix.Close(fsfd)
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return fmt.Errorf("procfs: fsconfig: %w", err)
	}
	fd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return fmt.Errorf("procfs: fsmount: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.MoveMount(fd, "", int(target.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("procfs: move_mount: %w", err)
	}
	return nil
}

// pivot makes root the namespace's root and lets go of the host's tree, stacking both on one place so that the root
// filesystem needs no directory for the old root (pivot_root(2), "pivot_root(".", ".")").
func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("chdir to the root filesystem: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the host's root: %w", err)
	}
	return unix.Chdir("/")
}
