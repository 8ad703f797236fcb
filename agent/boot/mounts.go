package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount is one file system of the guest's root.
type mount struct {
	kind, target string
	flags        uintptr
	data         string
	optional     bool // a kernel without it is fine
}

// mounts is the guest's tree in the order of mounting. /run and /tmp lie on the root, which is a tmpfs itself.
var mounts = []mount{
	{kind: "proc", target: "/proc", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{kind: "sysfs", target: "/sys", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{kind: "devtmpfs", target: "/dev", flags: unix.MS_NOSUID, data: "mode=0755", optional: true},
	{
		kind: "devpts", target: "/dev/pts", flags: unix.MS_NOSUID | unix.MS_NOEXEC,
		data: "newinstance,ptmxmode=0666,mode=0620,gid=5",
	},
	{kind: "tmpfs", target: "/dev/shm", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=1777"},
	{kind: "mqueue", target: "/dev/mqueue", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, optional: true},
	// nsdelegate: a container that may write to its cgroups cannot change its own limits (cgroups(7)).
	{kind: "cgroup2", target: cgroupRoot, flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, data: "nsdelegate"},
}

// directory is one directory of the guest's root.
type directory struct {
	path string
	mode os.FileMode
}

var directories = []directory{
	{"/run", 0o755},
	{"/tmp", 0o777 | os.ModeSticky},
	{"/run/runvm", 0o711}, // root of a user namespace passes through it to its container's root
}

// node is a device that every guest has.
type node struct {
	name         string
	mode         uint32
	major, minor uint32
}

// nodes is for kernels without devtmpfs: Documentation/admin-guide/devices.txt.
var nodes = []node{
	{"console", 0o600, 5, 1},
	{"full", 0o666, 1, 7},
	{"kmsg", 0o600, 1, 11},
	{"null", 0o666, 1, 3},
	{"ptmx", 0o666, 5, 2},
	{"random", 0o666, 1, 8},
	{"tty", 0o666, 5, 0},
	{"urandom", 0o666, 1, 9},
	{"zero", 0o666, 1, 5},
}

// links are the symbolic links in /dev that runtime-spec's config-linux.md asks for.
var links = map[string]string{
	"/dev/fd":     "/proc/self/fd",
	"/dev/stdin":  "/proc/self/fd/0",
	"/dev/stdout": "/proc/self/fd/1",
	"/dev/stderr": "/proc/self/fd/2",
}

// mountTree makes the guest's tree below the current root.
func mountTree() error {
	for _, m := range mounts {
		if err := m.mount(); err != nil {
			return err
		}
		if m.target == "/dev" {
			if err := makeNodes(); err != nil {
				return err
			}
		}
	}
	for target, source := range links {
		if err := os.Symlink(source, target); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for _, d := range directories {
		if err := os.MkdirAll(d.path, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(d.path, d.mode); err != nil {
			return err
		}
	}
	return nil
}

func (m mount) mount() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.data)
	if err == unix.ENODEV && m.optional { // errors of package unix are bare
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount %s at %s: %w", m.kind, m.target, err)
	}
	return nil
}

// makeNodes makes the device nodes that devtmpfs did not.
func makeNodes() error {
	for _, n := range nodes {
		path := filepath.Join("/dev", n.name)
		err := unix.Mknod(path, unix.S_IFCHR|n.mode, int(unix.Mkdev(n.major, n.minor)))
		if err == unix.EEXIST { // errors of package unix are bare
			continue
		}
		if err != nil {
			return fmt.Errorf("mknod %s: %w", path, err)
		}
		if err := os.Chmod(path, os.FileMode(n.mode)); err != nil {
			return err
		}
	}
	return nil
}
