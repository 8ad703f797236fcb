package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// MakeMountpoints makes what is missing of the given mount points in a container's root, and in the volumes that some
// are in: directories with mode 0755 and empty files with mode 0644. What exists stays as it is. Symbolic links in the
// root, also dangling ones, are followed as a process in the container would: they never lead out of the root, even if
// somebody changes them meanwhile.
func MakeMountpoints(rootfs string, points []Mountpoint) error {
	for _, point := range points {
		root := rootfs
		if point.Volume != "" {
			root = point.Volume
		}
		if err := makeMountpoint(root, point); err != nil {
			return fmt.Errorf("create mount point %q in %s: %w", point.Path, root, err)
		}
	}
	return nil
}

func makeMountpoint(rootfs string, point Mountpoint) error {
	root, err := os.OpenFile(rootfs, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	path, err := resolveMissing(rootfs, point.Path)
	if err != nil {
		return err
	}
	if point.Volume != "" && path != point.Path {
		// A link in a volume may lead to any place in the container, where only the guest can follow it.
		return nil
	}
	existing, err := pathrs.OpenatInRoot(root, path)
	if err == nil {
		defer existing.Close()
		return checkKind(existing, point)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if point.ReadOnly {
		return syscall.EROFS
	}
	if point.Dir {
		dir, err := pathrs.MkdirAllHandle(root, path, 0o755)
		if err != nil {
			return err
		}
		return dir.Close()
	}
	return makeFile(root, path)
}

// resolveMissing follows the links of a path in the root as far as the path exists and returns the rest as it is, so
// that what a dangling link names can be made. The result is a hint: it is looked up in the root again.
func resolveMissing(root, path string) (string, error) {
	root = filepath.Clean(root)
	joined, err := securejoin.SecureJoin(root, path)
	if err != nil {
		return "", err
	}
	return filepath.Join("/", strings.TrimPrefix(joined, root)), nil
}

func checkKind(f *os.File, point Mountpoint) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch {
	case point.Dir && !info.IsDir():
		return syscall.ENOTDIR
	case !point.Dir && info.IsDir():
		return syscall.EISDIR
	}
	return nil
}

func makeFile(root *os.File, path string) error {
	dir, err := pathrs.MkdirAllHandle(root, filepath.Dir(path), 0o755)
	if err != nil {
		return err
	}
	defer dir.Close()
	const flags = unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_WRONLY | unix.O_CLOEXEC
	fd, err := unix.Openat(int(dir.Fd()), filepath.Base(path), flags, 0o644)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
