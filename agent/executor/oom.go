package executor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// oomKills is how many processes the kernel has killed in the container's cgroup because memory ran out.
func (c *Container) oomKills() uint64 {
	f, err := os.Open(filepath.Join(c.cgroup, "memory.events"))
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if count, ok := strings.CutPrefix(s.Text(), "oom_kill "); ok {
			n, _ := strconv.ParseUint(count, 10, 64)
			return n
		}
	}
	return 0
}

// WatchOOM calls notify when the kernel has killed a process of the container for memory, with past if that was before
// the call. It returns nil when the container is deleted, and otherwise the error of ctx or of notify.
func (c *Container) WatchOOM(ctx context.Context, notify func(past bool) error) error {
	// The kernel reports changes of this file as modifications (cgroup-v2.rst, "memory.events").
	events, err := watchFile(filepath.Join(c.cgroup, "memory.events"))
	if err != nil {
		return err
	}
	defer events.Close()
	wake := func() { _ = events.SetReadDeadline(time.Unix(1, 0)) }
	defer context.AfterFunc(ctx, wake)()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-c.deleted:
			wake()
		case <-done:
		}
	}()
	buf := make([]byte, 4096)
	for seen, past := uint64(0), true; ; past = false {
		if n := c.oomKills(); n > seen {
			seen = n
			if err := notify(past); err != nil {
				return err
			}
		}
		if _, err := events.Read(buf); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return ctx.Err()
			}
			return err
		}
	}
}

// watchFile returns an inotify descriptor that becomes readable when a file is modified.
func watchFile(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}
