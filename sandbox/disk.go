package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/vmm"
)

// Disk is a block device of the host that the guest shall have.
type Disk struct {
	Serial       string // by which the guest finds it; unique in the sandbox, letters, digits and dashes
	Major, Minor uint32
	ReadOnly     bool
}

// disk is a block device that has been plugged in.
type disk struct {
	id        string // QEMU's
	container string
	port      int
}

// OpenDisk opens a device by one of its nodes, for PlugDisk. One that refuses to be written is opened to be read, which
// the result says: the container meets the refusal, as it would on the host.
func OpenDisk(d Disk, node string) (*os.File, Disk, error) {
	if !d.ReadOnly {
		f, err := openNode(node, os.O_RDWR, d)
		if err == nil || !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
			return f, d, err
		}
		d.ReadOnly = true
	}
	f, err := openNode(node, os.O_RDONLY, d)
	return f, d, err
}

// openNode opens a node and makes sure that it is the device's.
func openNode(path string, flags int, d Disk) (*os.File, error) {
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !d.is(info) {
		err = fmt.Errorf("%s is another device: it must be b %d:%d", path, d.Major, d.Minor)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (d Disk) is(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode()&(fs.ModeDevice|fs.ModeCharDevice) == fs.ModeDevice &&
		unix.Major(st.Rdev) == d.Major && unix.Minor(st.Rdev) == d.Minor
}

// PlugDisk gives the machine a block device for one of its containers. QEMU gets the open file, which stays the caller's;
// there is no node of it in QEMU's jail.
func (s *Sandbox) PlugDisk(ctx context.Context, container string, d Disk, file *os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.plugDisk(ctx, container, d, file); err != nil {
		return fmt.Errorf("give block device %d:%d to the virtual machine: %w", d.Major, d.Minor, err)
	}
	return nil
}

func (s *Sandbox) plugDisk(ctx context.Context, container string, d Disk, file *os.File) error {
	port := s.freePort()
	if port < 0 {
		return fmt.Errorf("all %d hot-plug ports are taken (raise vm.hotplug_ports)", s.ports)
	}
	logical, physical, err := blockSizes(file)
	if err != nil {
		return err
	}
	id := "disk-" + d.Serial
	err = s.qmp.AddDisk(ctx, vmm.Disk{
		ID: id, File: file, Block: true, ReadOnly: d.ReadOnly, Serial: d.Serial, LogicalBlock: logical, PhysicalBlock: physical,
	}, vmm.PortID(port))
	if err != nil {
		return err
	}
	s.disks = append(s.disks, &disk{id: id, container: container, port: port})
	return nil
}

// UnplugDisks takes the block devices of a container away. One that the guest does not let go of keeps its port.
func (s *Sandbox) UnplugDisks(ctx context.Context, container string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	var errs []error
	for _, d := range slices.Clone(s.disks) {
		if d.container != container {
			continue
		}
		if err := s.qmp.RemoveDevice(ctx, d.id); err != nil {
			errs = append(errs, err)
			continue
		}
		s.disks = slices.DeleteFunc(s.disks, func(o *disk) bool { return o == d })
	}
	return errors.Join(errs...)
}

// blockSizes returns the sizes of the device's blocks in bytes: partition tables and file systems depend on them.
func blockSizes(f *os.File) (logical, physical int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var sizeErr error
	err = raw.Control(func(fd uintptr) {
		if logical, sizeErr = unix.IoctlGetInt(int(fd), unix.BLKSSZGET); sizeErr == nil {
			physical, sizeErr = unix.IoctlGetInt(int(fd), unix.BLKPBSZGET)
		}
	})
	if err = errors.Join(err, sizeErr); err != nil {
		return 0, 0, fmt.Errorf("ask for the size of a block: %w", err)
	}
	return logical, physical, nil
}
