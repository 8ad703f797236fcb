package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agent/process"
	"github.com/runvm/runvm/agentproto"
)

// Container is a container of the guest. Its methods may be called from several goroutines.
type Container struct {
	// Init is the container's first process.
	Init *process.Process

	id      string
	share   string // directory that the root file system is in
	e       *Executor
	lc      *libcontainer.Container
	cgroup  string // folder of the container's cgroup
	sync    func() error
	notify  *notify // nil for none
	once    sync.Once
	deleted chan struct{}
}

// ShareDir is the directory that holds the container's root and volumes.
func (c *Container) ShareDir() string { return c.share }

// Start lets init run the user's program. ErrState, with runc's words: it cannot.
func (c *Container) Start() error {
	status, err := c.lc.Status()
	if err != nil {
		return err
	}
	switch status {
	case libcontainer.Created:
		c.notify.giveUp()
		return whenExecuted(c.Init.Pid, c.lc.Exec)
	case libcontainer.Stopped:
		return state("cannot start a container that has stopped")
	case libcontainer.Running:
		return state("cannot start an already running container")
	default:
		return state(fmt.Sprintf("cannot start a container in the %s state", status))
	}
}

// stateError is an ErrState whose text is runc's alone.
type stateError string

func state(text string) error        { return stateError(text) }
func (s stateError) Error() string   { return string(s) }
func (stateError) Is(err error) bool { return err == ErrState } // Is compares

// ExecOptions is what a further process is made of.
type ExecOptions struct {
	Process      []byte        // OCI process object, JSON
	Size         *process.Size // of the terminal; nil for the object's
	IgnorePaused bool
	Cgroup       string // below the container's; empty for that itself
	Files        []*agentproto.PassedFile
}

// Exec starts another process in the container. The error's text is the one that runc prints after "exec failed: ".
func (c *Container) Exec(o ExecOptions) (*process.Process, error) {
	var spec specs.Process
	if err := json.Unmarshal(o.Process, &spec); err != nil {
		return nil, fmt.Errorf("%w: process: %w", ErrInvalid, err)
	}
	if err := validateProcess(&spec); err != nil {
		return nil, err
	}
	// An object of its own, as in another runc: one container's lock would let its processes start one by one only.
	lc, err := libcontainer.Load(c.e.stateDir, c.id)
	if errors.Is(err, libcontainer.ErrNotExist) {
		return nil, state("cannot exec in a stopped container")
	}
	if err != nil {
		return nil, err
	}
	status, err := lc.Status()
	switch {
	case err != nil:
		return nil, err
	case status == libcontainer.Stopped:
		return nil, state("cannot exec in a stopped container")
	case status == libcontainer.Paused && !o.IgnorePaused:
		return nil, state("cannot exec in a paused container (use --ignore-paused to override)")
	}
	dropProcessLabels(&spec)
	lp, err := newProcess(&spec)
	if err != nil {
		return nil, err
	}
	if o.Cgroup != "" {
		lp.SubCgroupPaths = map[string]string{"": o.Cgroup}
	}
	kills := c.oomKills()
	ended := func(e *process.Exit) { c.noteOOM(e, kills) }
	return c.start(lc, lp, startOptions{spec.Terminal, o.Size, o.Files, ended})
}

// noteOOM tells whether a killed process was the kernel's choice when memory ran out. Which process of the cgroup it
// chose, the kernel does not tell; before is the count at the process's start.
func (c *Container) noteOOM(e *process.Exit, before uint64) {
	e.OOMKilled = e.Signal == unix.SIGKILL && c.oomKills() > before
}

// initEnded ends the container with its init. To engines an OOM kill of any process is one of the container.
func (c *Container) initEnded(e *process.Exit) {
	e.OOMKilled = c.oomKills() > 0
	if config := c.lc.Config(); !config.Namespaces.IsPrivate(configs.NEWPID) {
		_ = c.killAll() // otherwise the kernel has killed the rest (pid_namespaces(7))
	}
	if c.sync != nil {
		_ = c.sync()
	}
}

// Signal sends a signal to init. ErrNotRunning: init has ended.
func (c *Container) Signal(s unix.Signal) error {
	err := c.lc.Signal(s)
	if errors.Is(err, os.ErrProcessDone) || errors.Is(err, unix.ESRCH) {
		return ErrNotRunning
	}
	return err
}

// SignalAll sends a signal to every process of the container.
func (c *Container) SignalAll(s unix.Signal) error {
	if s == unix.SIGKILL {
		return c.killAll()
	}
	pids, err := c.Pids()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, s); err != nil && err != unix.ESRCH { // errors of package unix are bare
			return fmt.Errorf("signal process %d: %w", pid, err)
		}
	}
	return nil
}

// killAll kills the whole cgroup at once (Linux 5.14, cgroup.kill in Documentation/admin-guide/cgroup-v2.rst).
func (c *Container) killAll() error {
	err := os.WriteFile(filepath.Join(c.cgroup, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no cgroup, no processes
	}
	return err
}

// Pids lists the container's processes, as the guest's root PID namespace numbers them.
func (c *Container) Pids() ([]int, error) { return c.lc.Processes() }

// Pause freezes the container.
func (c *Container) Pause() error { return c.lc.Pause() }

// Resume thaws the container. One that is not frozen is no error: the host's record says so before Pause, and may still
// say so after Resume.
func (c *Container) Resume() error {
	if err := c.lc.Resume(); !errors.Is(err, libcontainer.ErrNotPaused) {
		return err
	}
	return nil
}

// Stats reads the container's cgroup: JSON of opencontainers/cgroups' Stats.
func (c *Container) Stats() ([]byte, error) {
	stats, err := c.lc.Stats()
	if err != nil {
		return nil, err
	}
	return json.Marshal(stats.CgroupStats)
}

// Delete kills what is left of the container and removes it. It waits for the kernel, at most until ctx ends, and may
// then be called again.
func (c *Container) Delete(ctx context.Context) error {
	if err := c.killAll(); err != nil {
		return err
	}
	if err := c.Signal(unix.SIGKILL); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	if _, err := c.Init.Wait(ctx); err != nil {
		return fmt.Errorf("wait for the end of the container's init: %w", err)
	}
	if err := c.lc.Destroy(); err != nil {
		return err
	}
	c.notify.remove()
	c.once.Do(func() { close(c.deleted) })
	return nil
}
