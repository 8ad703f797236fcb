package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// tree is the directory that the guest sees: a tmpfs in the monitor's mount namespace, with each container's root and
// volumes mounted in it. It holds nothing but mount points, so that taking it away can never empty a volume. Where
// virtiofsd and QEMU meet it, it is read-only: a hostile guest can put no link where the next mount point will be made.
type tree struct {
	root string
	top  int // the same tmpfs, writable, mounted nowhere

	mu     sync.Mutex
	places map[string][]string // by container: the mount points, as made
	closed bool
}

// newTree mounts the tmpfs. Its propagation is shared, so that virtiofsd, which copies the namespace when it starts and
// makes its copy a slave, sees what is mounted later.
func newTree(root string) (*tree, error) {
	top, err := newTmpfs()
	if err != nil {
		return nil, fmt.Errorf("mount the shared directory: %w", err)
	}
	t := &tree{root: root, top: top, places: map[string][]string{}}
	if err := attachReadOnly(top, root); err != nil {
		return nil, errors.Join(fmt.Errorf("mount the shared directory: %w", err), unix.Close(top))
	}
	if err := unix.Mount("", root, "", unix.MS_SHARED, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("make the shared directory propagate: %w", err), t.close())
	}
	return t, nil
}

// newTmpfs returns a tmpfs that is mounted nowhere.
func newTmpfs() (int, error) {
	fsfd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fsfd)
	for _, o := range [][2]string{{"source", "runvm"}, {"mode", "0755"}, {"size", "1m"}} {
		if err := unix.FsconfigSetString(fsfd, o[0], o[1]); err != nil {
			return -1, fmt.Errorf("fsconfig: %w", err)
		}
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	const flags = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	fd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, flags)
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return fd, nil
}

// attachReadOnly mounts a read-only copy of the mount top at path.
func attachReadOnly(top int, path string) error {
	fd, err := unix.OpenTree(top, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// close detaches the tree with everything mounted in it. virtiofsd may still pin mounts, until it ends. Idempotent.
func (t *tree) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	_ = unix.Close(t.top)
	if err := unix.Unmount(t.root, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount the shared directory: %w", err)
	}
	return nil
}

var errTreeClosed = errors.New("the sandbox is being taken down")

// add puts a detached mount, with its flags set, in place for a container: a read-only remount of a mount that
// virtiofsd's slave namespace has a copy of would not reach the copy. What fails is undone by remove.
func (t *tree) add(container string, m Mount, detached int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errTreeClosed
	}
	place := filepath.Join(container, m.Place)
	if !filepath.IsLocal(place) || !filepath.IsLocal(m.Place) || !filepath.IsLocal(container) {
		return fmt.Errorf("share %s: %q is no place in the shared directory", m.Source, place)
	}
	// Before anything is made: what exists in part has to be removed, too.
	t.places[container] = append(t.places[container], place)
	if err := t.makeTarget(place, m.Dir); err != nil {
		return err
	}
	if err := restrict(detached, m); err != nil {
		return fmt.Errorf("share %s: mount_setattr: %w", m.Source, err)
	}
	if err := unix.MoveMount(detached, "", unix.AT_FDCWD, filepath.Join(t.root, place), unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("share %s: move_mount: %w", m.Source, err)
	}
	return nil
}

// remove detaches a container's mounts and removes their mount points. Unknown containers have none.
func (t *tree) remove(container string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	places := t.places[container]
	if t.closed || len(places) == 0 {
		return nil
	}
	delete(t.places, container)
	var errs []error
	parents := map[string]bool{}
	for _, place := range slices.Backward(places) {
		err := unix.Unmount(filepath.Join(t.root, place), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		// EINVAL, ENOENT: add did not get that far.
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", place, err))
			continue
		}
		errs = append(errs, t.removeName(place))
		for dir := filepath.Dir(place); dir != "."; dir = filepath.Dir(dir) {
			parents[dir] = true
		}
	}
	for dir := range parents {
		errs = append(errs, t.removeEmpty(dir))
	}
	return errors.Join(errs...)
}

// removeName removes a mount point, which is an empty directory or file.
func (t *tree) removeName(place string) error {
	err := unix.Unlinkat(t.top, place, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTDIR) {
		err = unix.Unlinkat(t.top, place, 0)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove mount point %s: %w", place, err)
	}
	return nil
}

// removeEmpty removes a directory and those above it, as far as nothing is left in them.
func (t *tree) removeEmpty(dir string) error {
	for ; dir != "."; dir = filepath.Dir(dir) {
		err := unix.Unlinkat(t.top, dir, unix.AT_REMOVEDIR)
		if errors.Is(err, unix.ENOTEMPTY) {
			return nil
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove %s of the shared directory: %w", dir, err)
		}
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

// makeTarget makes the mount point, a directory or an empty file, in the tree's tmpfs, through the only mount of it that
// can be written: nobody else makes names there.
func (t *tree) makeTarget(place string, dir bool) error {
	parent := filepath.Dir(place)
	if dir {
		parent = place
	}
	if err := t.makeDirs(parent); err != nil {
		return fmt.Errorf("make mount point %s: %w", place, err)
	}
	if dir {
		return nil
	}
	fd, err := unix.Openat(t.top, place, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return fmt.Errorf("make mount point %s: %w", place, err)
	}
	return os.NewFile(uintptr(fd), place).Close()
}

func (t *tree) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	if err := t.makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := unix.Mkdirat(t.top, dir, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// CloneMount returns a detached copy of the mount at the source, as the calling thread's mount namespace has it: what
// Share takes. The caller closes it.
func CloneMount(m Mount) (*os.File, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if m.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
	if err != nil {
		return nil, fmt.Errorf("share %s: open_tree: %w", m.Source, err)
	}
	return os.NewFile(uintptr(fd), m.Source), nil
}
