package bundle

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// guestOwn decides about bind mounts whose source is not plain data. It returns what the guest mounts of its own
// instead, nil for plain directories and files, which are shared, or an error for what cannot cross into a virtual
// machine. info is the source's, links followed.
func (p *planner) guestOwn(source string, info fs.FileInfo, m *specs.Mount) (*specs.Mount, error) {
	// Files are judged by where they really are: an engine may come through a link, such as /var/run.
	resolved, err := filepath.EvalSymlinks(source)
	if err != nil {
		return nil, fmt.Errorf("error mounting %q to rootfs at %q: %w", source, m.Destination, err)
	}
	if m.Destination == "/dev/shm" && info.IsDir() {
		shm, err := p.guestShm(resolved, m)
		if shm != nil || err != nil {
			return shm, err
		}
	}
	switch mode := info.Mode(); {
	case mode&fs.ModeSocket != 0:
		return nil, cannotShare("socket", source)
	case mode&fs.ModeNamedPipe != 0:
		return nil, cannotShare("fifo", source)
	case mode&fs.ModeCharDevice != 0:
		return bindCharDevice(source, info, m)
	case mode&fs.ModeDevice != 0:
		return p.bindBlockDevice(resolved, info, m), nil
	}
	return guestOwnDir(resolved, source, m)
}

func cannotShare(kind, source string) error {
	return unsupportedf("the %s %s cannot be shared with a VM yet, nor can one in a shared directory be connected to: "+
		"reach the service behind it over the network", kind, source)
}

// guestOwnDir handles directories and files that a kernel makes.
func guestOwnDir(resolved, source string, m *specs.Mount) (*specs.Mount, error) {
	bind := bindInGuest(m, resolved)
	switch {
	case resolved == "/sys", below(resolved, "/sys"):
		return &bind, nil
	case resolved == "/proc":
		return &bind, nil
	case below(resolved, "/proc"):
		// The guest has other processes.
		first, _, _ := strings.Cut(strings.TrimPrefix(resolved, "/proc/"), "/")
		if strings.Trim(first, "0123456789") == "" {
			return nil, unsupportedf("%s belongs to a process of the host and cannot be seen in a virtual machine: "+
				"leave the mount at %s out", source, m.Destination)
		}
		return &bind, nil
	case resolved == "/dev/shm", below(resolved, "/dev/shm"):
		return nil, nil
	case slices.Contains([]string{"/dev", "/dev/pts", "/dev/mqueue"}, resolved):
		return &bind, nil
	case below(resolved, "/dev"):
		return nil, unsupportedf("%s holds devices of the host, which is not supported yet: leave the mount at %s out",
			source, m.Destination)
	}
	return nil, nil
}

// guestShm replaces a shared-memory filesystem that the engine made for the container, or for its pod, with one in the
// guest of the same size: memory cannot be shared through a network of files. It returns nil if the source is an
// ordinary directory.
func (p *planner) guestShm(source string, m *specs.Mount) (*specs.Mount, error) {
	var fsStat unix.Statfs_t
	var st unix.Stat_t
	err := unix.Statfs(source, &fsStat)
	if err == nil {
		err = unix.Stat(source, &st)
	}
	if err != nil {
		return nil, fmt.Errorf("error mounting %q to rootfs at %q: %w",
			source, m.Destination, &fs.PathError{Op: "statfs", Path: source, Err: err})
	}
	if fsStat.Type != unix.TMPFS_MAGIC || !isMountRoot(source) {
		return nil, nil
	}
	// A tmpfs without a limit has no blocks, tmpfs(5). Its device number is its alone while it is mounted.
	shm := SharedMemory{ID: strconv.FormatUint(st.Dev, 10), Size: fsStat.Blocks * uint64(fsStat.Bsize)}
	p.plan.SharedMemory = append(p.plan.SharedMemory, shm)
	options := []string{"bind", "nosuid", "noexec", "nodev"}
	if lastOf(m.Options, "ro", "rw") {
		options = append(options, "ro")
	}
	source = filepath.Join(p.guest.SharedMemory, shm.ID)
	return &specs.Mount{Destination: m.Destination, Type: "bind", Source: source, Options: options}, nil
}

// isMountRoot says whether a directory is the root of a mount, statx(2). Kernels before 5.8 do not tell, and the
// engines' own are roots.
func isMountRoot(path string) bool {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, 0, &st); err != nil {
		return false
	}
	const root = unix.STATX_ATTR_MOUNT_ROOT
	return st.Attributes_mask&root == 0 || st.Attributes&root != 0
}

// bindCharDevice replaces a device of the host with the guest's own.
func bindCharDevice(source string, info fs.FileInfo, m *specs.Mount) (*specs.Mount, error) {
	major, minor := deviceNumber(info)
	path := guestDevicePath(major, minor)
	if path == "" {
		return nil, unsupportedf("device %s (c %d:%d) is not supported yet: only %s are", source, major, minor,
			ordinaryDevices)
	}
	bind := bindInGuest(m, path)
	return &bind, nil
}

// owner returns a file's uid and gid.
func owner(info os.FileInfo) (uid, gid uint32) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return st.Uid, st.Gid
}

// deviceNumber returns the number of the device that a node stands for.
func deviceNumber(info os.FileInfo) (major, minor int64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, -1
	}
	return int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
}
