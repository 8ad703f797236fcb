package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agent/uevent"
	"github.com/runvm/runvm/agentproto"
)

// mountShare mounts the sandbox's share at agentproto.SharedDir.
func mountShare(ctx context.Context, share *agentproto.Share) error {
	if !slices.Contains(shareTypes, share.GetType()) {
		return fmt.Errorf("share of type %q: want one of %v", share.GetType(), shareTypes)
	}
	if err := os.MkdirAll(agentproto.SharedDir, 0o711); err != nil {
		return err
	}
	data := strings.Join(share.GetOptions(), ",")
	err := whenPlugged(ctx, func() error {
		return unix.Mount(share.GetTag(), agentproto.SharedDir, share.GetType(), 0, data)
	})
	if err != nil {
		return fmt.Errorf("mount the %s share %q with options %q: %w", share.GetType(), share.GetTag(), data, err)
	}
	return nil
}

// plugTimeout bounds the wait for a share's device.
const plugTimeout = 20 * time.Second

// whenPlugged mounts a share whose device the host may be plugging right now: until it is there, virtiofs says EINVAL
// and 9p ENOENT. The kernel reports each driver that has taken a device on.
func whenPlugged(ctx context.Context, mount func() error) error {
	if err := mount(); !unplugged(err) {
		return err
	}
	events, err := uevent.Listen()
	if err != nil {
		return err
	}
	defer events.Close()
	deadline := time.Now().Add(plugTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := events.SetDeadline(deadline); err != nil {
		return err
	}
	for {
		err := mount()
		if !unplugged(err) {
			return err
		}
		if _, waitErr := events.Next(); errors.Is(waitErr, os.ErrDeadlineExceeded) {
			return err
		} else if waitErr != nil {
			return errors.Join(err, waitErr)
		}
	}
}

func unplugged(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) }
