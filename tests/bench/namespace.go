package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// insideVariable marks the process that runs in the private mount namespace.
const insideVariable = "RUNVM_BENCH_INSIDE"

const cgroupRoot = "/sys/fs/cgroup"

// errReported: what went wrong has been printed by the process inside.
var errReported = errors.New("reported already")

func inside() bool { return os.Getenv(insideVariable) != "" }

// enter runs this program again in a mount namespace of its own, which takes with it whatever is mounted there. When
// ctx ends, it asks the other to end and waits until it has tidied up.
func enter(ctx context.Context) error {
	c := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), insideVariable+"=1")
	c.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Setpgid: true, Pdeathsig: unix.SIGTERM}
	c.Cancel = func() error { return c.Process.Signal(unix.SIGTERM) }
	c.WaitDelay = time.Minute
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return errReported
	}
	if err != nil {
		return fmt.Errorf("run in a mount namespace: %w", err)
	}
	return nil
}

// hideHybridCgroups leaves only the version 1 hierarchies where both versions are mounted: crun refuses the mixture.
func hideHybridCgroups() error {
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return err
	}
	kinds := map[string]int64{} // hierarchy: type of its file system
	hybrid := false
	for _, e := range entries {
		var fs unix.Statfs_t
		if err := unix.Statfs(filepath.Join(cgroupRoot, e.Name()), &fs); err != nil {
			return fmt.Errorf("statfs %s: %w", e.Name(), err)
		}
		kinds[e.Name()] = int64(fs.Type)
		hybrid = hybrid || fs.Type == unix.CGROUP_SUPER_MAGIC
	}
	if !hybrid {
		return nil
	}
	return rebuildCgroupRoot(entries, kinds)
}

// rebuildCgroupRoot mounts a tmpfs over the cgroup root with the version 1 hierarchies bound in, links kept.
func rebuildCgroupRoot(entries []os.DirEntry, kinds map[string]int64) error {
	fresh, err := os.MkdirTemp("", "runvm-bench-cgroup-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(fresh) }()
	if err := unix.Mount("tmpfs", fresh, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	for _, e := range entries {
		old, name := filepath.Join(cgroupRoot, e.Name()), filepath.Join(fresh, e.Name())
		if e.Type()&os.ModeSymlink != 0 {
			target, err := os.Readlink(old)
			if err == nil && !strings.HasPrefix(target, "/") {
				err = os.Symlink(target, name)
			}
			if err != nil {
				return err
			}
			continue
		}
		if kinds[e.Name()] != unix.CGROUP_SUPER_MAGIC {
			continue
		}
		if err := os.Mkdir(name, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(old, name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", old, err)
		}
	}
	if err := unix.Mount(fresh, cgroupRoot, "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the tmpfs to %s: %w", cgroupRoot, err)
	}
	return nil
}
