package vmm

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// memoryDir is where the jail mounts the tmpfs for the guest's memory.
const memoryDir = "/memory"

// copyMemory mounts a tmpfs in the jail and copies the memory of a template into it, for QEMU's user alone. The copy
// lives as long as the jail's mount namespace.
func copyMemory(from *os.File, j Jail) (err error) {
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return fmt.Errorf("memory of the template: %w", err)
	}
	// One page more than the file: the size of a tmpfs is a bound.
	data := fmt.Sprintf("size=%d,nr_inodes=4,mode=711", info.Size()+int64(os.Getpagesize()))
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("guest-memory", memoryDir, "tmpfs", flags, data); err != nil {
		return fmt.Errorf("mount a tmpfs for the guest's memory: %w", err)
	}
	to, err := os.OpenFile(MemoryPath, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("guest's memory: %w", err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if err := to.Chown(int(j.UID), int(j.GID)); err != nil {
		return fmt.Errorf("guest's memory: %w", err)
	}
	if err := copySparse(to, from, info.Size()); err != nil {
		return fmt.Errorf("copy the memory of the template: %w", err)
	}
	return nil
}

// copySparse gives to, which is empty, the size and the content of from, and reads none of its holes.
func copySparse(to, from *os.File, size int64) error {
	if err := to.Truncate(size); err != nil {
		return err
	}
	for end := int64(0); end < size; {
		start, err := unix.Seek(int(from.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but a hole is left
		}
		if err != nil {
			return os.NewSyscallError("lseek", err)
		}
		if end, err = unix.Seek(int(from.Fd()), start, unix.SEEK_HOLE); err != nil {
			return os.NewSyscallError("lseek", err)
		}
		if err := copyRange(to, from, start, min(end, size)); err != nil {
			return err
		}
	}
	return nil
}

// copyRange copies the bytes from start to end, inside the kernel.
func copyRange(to, from *os.File, start, end int64) error {
	if _, err := unix.Seek(int(to.Fd()), start, unix.SEEK_SET); err != nil {
		return os.NewSyscallError("lseek", err)
	}
	for start < end {
		n, err := unix.Sendfile(int(to.Fd()), int(from.Fd()), &start, int(end-start))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("sendfile", err)
		}
		if n == 0 {
			return errors.New("the file has become shorter")
		}
	}
	return nil
}
