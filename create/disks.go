package create

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/sandbox"
)

// findDisks looks for a node of each block device.
func (c *creation) findDisks() error {
	for _, d := range c.plan.Disks {
		node, err := findNode(d)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, node)
	}
	return nil
}

// findNode returns the path of a node of the device.
func findNode(d bundle.Disk) (string, error) {
	candidates := []string{d.Path}
	if d.Path == "" {
		candidates = []string{filepath.Join("/dev", kernelName(d)), fmt.Sprintf("/dev/block/%d:%d", d.Major, d.Minor)}
	}
	for _, path := range candidates {
		if isNode(path, d) {
			return path, nil
		}
	}
	return "", fmt.Errorf("block device b %d:%d has no node in the host's /dev: %w", d.Major, d.Minor, fs.ErrNotExist)
}

// kernelName is the name that the kernel gives to the device's node, "" if there is no such device.
func kernelName(d bundle.Disk) string {
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/uevent", d.Major, d.Minor))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
			return name
		}
	}
	return ""
}

func isNode(path string, d bundle.Disk) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&(fs.ModeDevice|fs.ModeCharDevice) != fs.ModeDevice {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(unix.Major(st.Rdev)) == d.Major && int64(unix.Minor(st.Rdev)) == d.Minor
}

// diskSerial makes a serial number for a container's disk that no other container of the same machine has.
func diskSerial(id string, index int) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("%x-%d", sum[:6], index)
}

// plugDisks gives the container's block devices to the virtual machine.
func (c *creation) plugDisks(ctx context.Context) error {
	for i, d := range c.plan.Disks {
		if err := c.plugDisk(ctx, i, d); err != nil {
			return err
		}
	}
	return nil
}

func (c *creation) plugDisk(ctx context.Context, i int, d bundle.Disk) error {
	f, disk, err := sandbox.OpenDisk(sandbox.Disk{
		Serial: diskSerial(c.ID, i), Major: uint32(d.Major), Minor: uint32(d.Minor), ReadOnly: d.ReadOnly,
	}, c.nodes[i])
	if err != nil {
		return fmt.Errorf("open block device b %d:%d: %w", d.Major, d.Minor, err)
	}
	defer f.Close()
	return c.place.Hold.Plug(ctx, disk, f)
}

// blockDevices tells the agent which disk is which.
func (c *creation) blockDevices() []*agentproto.BlockDevice {
	var out []*agentproto.BlockDevice
	for i, d := range c.plan.Disks {
		out = append(out, &agentproto.BlockDevice{
			Serial: diskSerial(c.ID, i), Major: d.Major, Minor: d.Minor, Path: d.Path, Mode: d.Mode, Uid: d.UID, Gid: d.GID,
		})
	}
	return out
}
