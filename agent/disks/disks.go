// Package disks finds the block devices that the host has plugged into the guest, and makes nodes for them.
package disks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agent/boot"
	"github.com/runvm/runvm/agent/uevent"
	"github.com/runvm/runvm/agentproto"
)

const (
	sysBlock = "/sys/block"
	nodeDir  = "/run/runvm/disks"
)

// plugTimeout bounds the wait for a disk that the host has just plugged in, if the caller's context has no earlier end.
const plugTimeout = time.Minute

// Number is a device's number in the guest.
type Number struct{ Major, Minor uint32 }

// Find returns the number of the disk with the given serial, and waits for one that was plugged in just now.
func Find(ctx context.Context, serial string) (Number, error) {
	if serial == "" || len(serial) > agentproto.MaxSerial {
		return Number{}, fmt.Errorf("serial %q of a disk: want 1 to %d bytes", serial, agentproto.MaxSerial)
	}
	if err := boot.LoadModule("virtio_blk"); err != nil {
		return Number{}, err
	}
	// Before the first look, so that no disk comes between.
	events, err := uevent.Listen()
	if err != nil {
		return Number{}, err
	}
	defer events.Close()
	ctx, cancel := context.WithTimeout(ctx, plugTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = events.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		n, err := match(sysBlock, serial)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return n, err
		}
		if _, err := events.Next(); err != nil {
			return Number{}, fmt.Errorf("no disk with serial %s appeared in the guest: %w", serial, errors.Join(ctx.Err(), err))
		}
	}
}

// match looks for the serial among the disks of dir. fs.ErrNotExist: none has it.
func match(dir, serial string) (Number, error) {
	disks, err := os.ReadDir(dir)
	if err != nil {
		return Number{}, err
	}
	for _, d := range disks {
		// Not every disk has a serial, and one may go away meanwhile.
		found, err := os.ReadFile(filepath.Join(dir, d.Name(), "serial"))
		if err != nil || strings.TrimSpace(string(found)) != serial {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, d.Name(), "dev"))
		if err != nil {
			return Number{}, err
		}
		var n Number
		if _, err := fmt.Sscanf(string(text), "%d:%d", &n.Major, &n.Minor); err != nil {
			return Number{}, fmt.Errorf("number %q of disk %s: %w", text, d.Name(), err)
		}
		return n, nil
	}
	return Number{}, fmt.Errorf("disk with serial %s: %w", serial, fs.ErrNotExist)
}

// Node is what a device node stands for and who may open it.
type Node struct {
	Number   Number
	Mode     uint32 // permissions
	UID, GID int
}

// MakeNode makes the node of a container's disk and returns its path.
func MakeNode(container, serial string, n Node) (string, error) {
	dir := filepath.Join(nodeDir, container)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", err
	}
	path := filepath.Join(dir, serial)
	// A create that failed may have left one.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := unix.Mknod(path, unix.S_IFBLK|n.Mode&0o7777, int(unix.Mkdev(n.Number.Major, n.Number.Minor))); err != nil {
		return "", &fs.PathError{Op: "mknod", Path: path, Err: err}
	}
	if err := os.Chmod(path, fs.FileMode(n.Mode&0o777)); err != nil { // in spite of the umask
		return "", err
	}
	return path, os.Chown(path, n.UID, n.GID)
}

// RemoveNodes removes the nodes of a container, if there are any.
func RemoveNodes(container string) error {
	dir := filepath.Join(nodeDir, container)
	nodes, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := os.Remove(filepath.Join(dir, n.Name())); err != nil {
			return err
		}
	}
	return os.Remove(dir)
}
