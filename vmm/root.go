package vmm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// libraryDirs are where QEMU's libraries and modules are; firmwareDirs are where QEMU looks for its BIOS, on Debian,
// Fedora, openSUSE and Arch. What a host lacks is left out.
func libraryDirs() []string {
	return []string{"/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/local/lib64"}
}

func firmwareDirs() []string {
	return []string{"/usr/share/qemu", "/usr/share/seabios", "/usr/share/qemu-firmware", "/usr/local/share/qemu"}
}

// jailMount is a mount on its way from the host to the jail: a detached copy of the source, already restricted.
type jailMount struct {
	tree   int // descriptor of the detached copy
	target string
	dir    bool
}

// buildRoot replaces the root by a tmpfs that holds what QEMU needs. The copies of the host's mounts are made and
// restricted while the host's paths still mean something, and attached once the new root is in place.
func buildRoot(s stageConfig) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	links, mounts, err := collect(s)
	if err != nil {
		return err
	}
	devices, err := statDevices(s.Jail.Devices)
	if err != nil {
		return err
	}
	if err := enterRoot(s.Jail.RootDir); err != nil {
		return err
	}
	for target, content := range links {
		if err := makeLink(content, target); err != nil {
			return fmt.Errorf("in the new root: %w", err)
		}
	}
	for _, m := range mounts {
		if err := m.attach(); err != nil {
			return fmt.Errorf("mount %s in the new root: %w", m.target, err)
		}
	}
	for _, d := range devices {
		if err := d.make(s.Jail); err != nil {
			return fmt.Errorf("make device %s: %w", d.path, err)
		}
	}
	if s.Jail.KeepRoot {
		if err := mountProc(); err != nil {
			return err
		}
	}
	if s.Memory {
		if err := os.Mkdir(memoryDir, 0o711); err != nil {
			return fmt.Errorf("in the new root: %w", err)
		}
	}
	if err := restrict(unix.AT_FDCWD, "/", true, false); err != nil {
		return fmt.Errorf("make the new root read-only: %w", err)
	}
	return nil
}

// collect opens everything that goes into the jail, and the symbolic links among the library directories.
func collect(s stageConfig) (links map[string]string, mounts []jailMount, err error) {
	links = map[string]string{}
	var binds []Bind
	for _, dir := range append(libraryDirs(), firmwareDirs()...) {
		if content, err := os.Readlink(dir); err == nil {
			links[dir] = content
		} else if _, err := os.Stat(dir); err == nil {
			binds = append(binds, Bind{Source: dir, Target: dir, ReadOnly: true})
		}
	}
	for _, file := range []string{s.Binary, s.Kernel, s.Initrd} {
		if file != "" {
			binds = append(binds, Bind{Source: file, Target: file, ReadOnly: true})
		}
	}
	for _, b := range append(binds, s.Jail.Binds...) {
		m, err := b.open()
		if err != nil {
			return nil, nil, fmt.Errorf("prepare %s for QEMU: %w", b.Source, err)
		}
		mounts = append(mounts, m)
	}
	return links, mounts, nil
}

// open makes the detached, restricted copy.
func (b Bind) open() (jailMount, error) {
	if !filepath.IsAbs(b.Source) || !filepath.IsAbs(b.Target) {
		return jailMount{}, fmt.Errorf("%q to %q: want absolute paths", b.Source, b.Target)
	}
	info, err := os.Stat(b.Source)
	if err != nil {
		return jailMount{}, err
	}
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if b.Slave {
		flags |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, b.Source, flags)
	if err != nil {
		return jailMount{}, fmt.Errorf("open_tree: %w", err)
	}
	if err := restrict(tree, "", b.ReadOnly, b.Slave); err != nil {
		_ = unix.Close(tree)
		return jailMount{}, err
	}
	return jailMount{tree: tree, target: filepath.Clean(b.Target), dir: info.IsDir()}, nil
}

// restrict forbids set-user-id programs and device nodes on a mount, and writing if asked. A slave mount is left to
// receive later mounts and is restricted with all that is below it; any other one becomes private.
func restrict(dirfd int, path string, readOnly, slave bool) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID}
	flags := uint(0)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV
	}
	if readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if slave {
		flags |= unix.AT_RECURSIVE
	} else {
		attr.Propagation = unix.MS_PRIVATE
	}
	if err := unix.MountSetattr(dirfd, path, flags, &attr); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}

// rootSize bounds the jail's tmpfs, which holds nothing but mount points and device nodes.
const rootSize = "size=1m,nr_inodes=1k,mode=755"

// enterRoot mounts a tmpfs on dir and makes it the root, with nothing of the old root left.
func enterRoot(dir string) error {
	if err := unix.Mount("qemu-jail", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, rootSize); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("enter %s: %w", dir, err)
	}
	// With both arguments the same the old root ends up mounted over the new one, pivot_root(2).
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root to %s: %w", dir, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	return unix.Chdir("/")
}

// attach puts the copy in its place. What stands there already, in a library directory, is mounted over.
func (m jailMount) attach() error {
	defer unix.Close(m.tree)
	if _, err := os.Stat(m.target); errors.Is(err, fs.ErrNotExist) {
		if err := m.makeMountPoint(); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	err := unix.MoveMount(m.tree, "", unix.AT_FDCWD, m.target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
	if err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

func (m jailMount) makeMountPoint() error {
	if m.dir {
		return os.MkdirAll(m.target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(m.target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(m.target, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}

// makeLink makes a symbolic link, and the directory it is in.
func makeLink(content, target string) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.Symlink(content, target)
}

// deviceNode is a device of the host to be made in the jail.
type deviceNode struct {
	path string
	mode uint32 // type
	rdev uint64
}

func statDevices(paths []string) ([]deviceNode, error) {
	var out []deviceNode
	for _, path := range paths {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return nil, &os.PathError{Op: "device for QEMU", Path: path, Err: err}
		}
		kind := st.Mode & unix.S_IFMT
		if kind != unix.S_IFCHR && kind != unix.S_IFBLK || !strings.HasPrefix(path, "/dev/") {
			return nil, fmt.Errorf("device for QEMU: %s: want a device node below /dev", path)
		}
		out = append(out, deviceNode{path: filepath.Clean(path), mode: kind, rdev: st.Rdev})
	}
	return out, nil
}

func (d deviceNode) make(j Jail) error {
	if err := os.MkdirAll(filepath.Dir(d.path), 0o755); err != nil {
		return err
	}
	if err := unix.Mknod(d.path, d.mode|0o600, int(d.rdev)); err != nil {
		return err
	}
	if j.KeepRoot {
		return nil
	}
	return os.Lchown(d.path, int(j.UID), int(j.GID))
}

// mountProc mounts the procfs that QEMU's 9p server needs to change modes and extended attributes, which it does
// through /proc/self/fd. It shows processes of the jail alone and nothing of the host's settings.
func mountProc() error {
	if err := os.Mkdir("/proc", 0o555); err != nil {
		return err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY)
	if err := unix.Mount("proc", "/proc", "proc", flags, "subset=pid"); err != nil {
		return fmt.Errorf("mount /proc for the 9p share: %w", err)
	}
	return nil
}
