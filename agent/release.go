package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

// releaseShare makes the guest forget a container's directory in the share, so that the host can take it away: what the
// kernel remembers of a file keeps that file open on the host. Each mount of the host below the directory has become one
// of the guest when it was first looked at.
func releaseShare(dir string) error {
	if filepath.Dir(dir) != agentproto.SharedDir {
		return nil
	}
	below := func(m *mountinfo.Info) (skip, stop bool) { return !strings.HasPrefix(m.Mountpoint, dir+"/"), false }
	mounts, err := mountinfo.GetMounts(below)
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	var errs []error
	for i := len(mounts) - 1; i >= 0; i-- {
		err := unix.Unmount(mounts[i].Mountpoint, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			err = unix.Unmount(mounts[i].Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		if err != nil {
			errs = append(errs, &os.PathError{Op: "unmount", Path: mounts[i].Mountpoint, Err: err})
		}
	}
	// The names on which they were mounted. The first time only marks those that were used lately.
	for range 2 {
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
