// Package create is runc's create: it makes a container up to, not including, the start of the user's program. For
// runvm that is a virtual machine with the container's process waiting in it, and a shim on the host whose pid stands
// for that process.
package create

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/cgroup"
	"github.com/runvm/runvm/config"
	"github.com/runvm/runvm/console"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/hooks"
	"github.com/runvm/runvm/internal/atomicfile"
	"github.com/runvm/runvm/internal/pidfd"
	"github.com/runvm/runvm/internal/undo"
	"github.com/runvm/runvm/monitor"
	"github.com/runvm/runvm/netns"
	"github.com/runvm/runvm/shim"
)

// guestTimeout bounds what a booted guest may take to make the container: it may be hostile, and the container's lock is
// held meanwhile.
const guestTimeout = 2 * time.Minute

// Options are the flags of create, and of run where they agree.
type Options struct {
	ID            string
	Bundle        string // empty: the current directory
	PidFile       string
	ConsoleSocket string
	NoPivot       bool
	NoNewKeyring  bool
	PreserveFDs   int
	Attached      bool // run without --detach: the caller stays, and a terminal is the caller's own
}

// Result is a container that was made.
type Result struct {
	Container *container.Container
	Shim      *shim.Process // a child of this process
	Console   *console.Pair // with Attached and a terminal; the caller relays and closes it
}

// creation is one create under way.
type creation struct {
	Options
	globals *globals.Globals
	config  config.Config
	bundle  *bundle.Bundle
	plan    *bundle.Plan
	tools   tools

	container *container.Container
	shim      *shim.Process
	cgroup    *cgroup.Cgroup
	monitor   *monitor.Process
	console   *console.Pair
}

// Run makes a container, or leaves nothing behind.
func Run(ctx context.Context, g *globals.Globals, o Options) (_ *Result, err error) {
	var u undo.Stack
	defer u.Run(&err)
	c := &creation{Options: o, globals: g}
	if err = c.prepare(); err != nil {
		return nil, err
	}

	if c.container, err = g.Store().Create(o.ID); err != nil {
		return nil, err
	}
	u.Push(c.container.Remove)
	unlock, err := c.container.Lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err = c.claim(); err != nil {
		return nil, err
	}

	u.Push(c.cleanNetwork)
	u.Push(c.destroyCgroup)
	u.Push(c.closeConsole)
	u.Push(c.killShim)
	if err = c.startShim(); err != nil {
		return nil, err
	}
	if err = c.makeCgroup(); err != nil {
		return nil, err
	}
	if err = c.makeView(); err != nil {
		return nil, err
	}
	if err = c.runHooks(hooks.Prestart, hooks.CreateRuntime); err != nil {
		return nil, err
	}

	u.Push(c.killMonitor)
	if err = c.bootSandbox(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, guestTimeout)
	defer cancel()
	if err = c.createInGuest(ctx); err != nil {
		return nil, err
	}
	if err = c.attachShim(ctx); err != nil {
		return nil, err
	}
	if err = c.finish(); err != nil {
		return nil, err
	}
	u.Release()
	return &Result{Container: c.container, Shim: c.shim, Console: c.console}, nil
}

// prepare checks everything that can be checked before anything is made.
func (c *creation) prepare() (err error) {
	if os.Geteuid() != 0 {
		return errors.New("runvm must be run as root: rootless containers are not supported yet")
	}
	if err = bundle.ValidateID(c.ID); err != nil {
		return err
	}
	if c.Bundle == "" {
		c.Bundle = "."
	}
	if c.bundle, err = bundle.Load(c.Bundle); err != nil {
		return err
	}
	if err = c.bundle.Validate(); err != nil {
		return err
	}
	if err = c.checkTerminal(); err != nil {
		return err
	}
	if c.PreserveFDs > 0 {
		return fmt.Errorf("--preserve-fds %d: file descriptors cannot be passed into a virtual machine yet", c.PreserveFDs)
	}
	if kind, sandboxID := bundle.SandboxRef(c.bundle.Spec.Annotations, c.ID); kind == bundle.PodMember {
		return fmt.Errorf("the container belongs to the pod sandbox %q: pods are not supported yet", sandboxID)
	}
	if c.plan, err = c.bundle.Plan(c.ID, agentproto.SharedDir); err != nil {
		return err
	}
	if err = c.checkNetwork(); err != nil {
		return err
	}
	if c.config, err = c.globals.Config(); err != nil {
		return err
	}
	c.tools, err = findTools(c.config)
	if err != nil {
		return err
	}
	// Without a log file the log is stderr, which is the container's: engines would show the warnings as its output.
	if c.globals.LogsToFile() {
		for _, w := range append(c.plan.Warnings, c.tools.warnings...) {
			c.globals.Logger.Warn(w)
		}
	}
	return nil
}

func (c *creation) checkTerminal() error {
	terminal := c.bundle.Spec.Process.Terminal
	if !c.Attached && terminal && c.ConsoleSocket == "" {
		return errors.New("cannot allocate tty if runvm will detach without setting console socket")
	}
	if (c.Attached || !terminal) && c.ConsoleSocket != "" {
		return errors.New("cannot use console socket if runvm will not detach or allocate tty")
	}
	return nil
}

// checkNetwork refuses the namespaces whose interfaces must not be taken.
func (c *creation) checkNetwork() error {
	n := c.plan.NetNS
	if n.Host {
		return bundle.ErrHostNetwork
	}
	if n.Path == "" {
		return nil
	}
	host, err := netns.IsHost(n.Path)
	if err != nil {
		return err
	}
	if host {
		return bundle.ErrHostNetwork
	}
	used, err := netns.InUse(n.Path)
	if err != nil {
		return err
	}
	if used {
		return fmt.Errorf("network namespace %s belongs to another runvm container: sharing a virtual machine is not supported yet", n.Path)
	}
	others, err := netns.ForeignProcesses(n.Path, func(int) bool { return false })
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return fmt.Errorf("network namespace %s is in use by process %d: a virtual machine would take its interfaces away", n.Path, others[0])
	}
	return nil
}

// claim writes the first record: from now on state, list and delete know the container.
func (c *creation) claim() error {
	self, err := pidfd.Find(os.Getpid())
	if err != nil {
		return err
	}
	spec := c.bundle.Spec
	c.container.Record = container.Record{
		Version: spec.Version, ID: c.ID, Bundle: c.bundle.Dir, Rootfs: c.bundle.Rootfs(), Created: time.Now().UTC(),
		Terminal: spec.Process.Terminal, Annotations: spec.Annotations, Creator: self, NetNS: c.plan.NetNS.Path,
		Cgroup: container.CgroupRef{Path: spec.Linux.CgroupsPath, Systemd: c.globals.SystemdCgroup},
	}
	dir := c.container.Dir()
	for _, d := range []string{dir.Shared(), dir.Jail(), dir.VM()} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("make the sandbox's directories: %w", err)
		}
	}
	return c.container.Save()
}

// startShim starts the process that the container is on the host, in the container's network namespace.
func (c *creation) startShim() error {
	o := shim.Options{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Args: c.bundle.Spec.Process.Args, Isolate: true, LogFlags: c.globals.ChildFlags(),
	}
	if c.bundle.Spec.Process.Terminal {
		pair, err := console.New(c.bundle.Spec.Process.ConsoleSize)
		if err != nil {
			return err
		}
		c.console = pair
		o.Stdin, o.Stdout, o.Stderr, o.Terminal = pair.Slave, pair.Slave, pair.Slave, true
	}
	start := func() (err error) {
		c.shim, err = shim.Start(o)
		return err
	}
	var err error
	if c.plan.NetNS.New {
		o.NewNetwork = true
		err = start()
	} else {
		err = netns.Do(c.plan.NetNS.Path, start)
	}
	if err != nil {
		return err
	}
	c.container.Shim = c.shim.Process
	return c.container.Save()
}

func (c *creation) killShim() error {
	if c.shim == nil {
		return nil
	}
	return c.shim.Kill()
}

func (c *creation) closeConsole() error {
	if c.console == nil {
		return nil
	}
	return c.console.Close()
}

func (c *creation) makeCgroup() (err error) {
	spec := c.bundle.Spec
	overhead := cgroup.Overhead{
		MemoryBytes: int64(c.config.Cgroup.MemoryOverheadMiB) << 20,
		CPUs:        c.config.Cgroup.CPUOverhead,
	}
	ref := &c.container.Cgroup
	c.cgroup, err = cgroup.New(c.ID, ref.Path, ref.Systemd, spec.Linux.Resources, overhead, c.shim.PID)
	if err != nil {
		return err
	}
	ref.Paths = c.cgroup.Paths()
	return c.container.Save()
}

func (c *creation) destroyCgroup() error {
	if c.cgroup == nil {
		return nil
	}
	return c.cgroup.Destroy()
}

// makeView gives the shim its mount namespace. Mount points are made first, in the root filesystem, as runc does.
func (c *creation) makeView() error {
	rootfs := c.bundle.Rootfs()
	if err := bundle.MakeMountpoints(rootfs, c.plan.Mountpoints); err != nil {
		return err
	}
	view := &shim.View{Rootfs: rootfs, ReadOnly: c.plan.Rootfs.ReadOnly}
	for _, s := range c.plan.Shares {
		if s.Hidden {
			continue
		}
		view.Volumes = append(view.Volumes, shim.Volume{
			Source: s.Source, Destination: s.Destination, ReadOnly: s.ReadOnly || s.RecursiveReadOnly,
			Recursive: s.Recursive, Dir: s.Dir,
		})
	}
	return c.shim.Prepare(shim.Config{ContainerID: c.ID, Terminal: c.bundle.Spec.Process.Terminal, View: view})
}

func (c *creation) runHooks(names ...hooks.Name) error {
	state := hooks.State{
		Version: c.container.Version, ID: c.ID, Status: container.Creating, PID: c.shim.PID,
		Bundle: c.bundle.Dir, Annotations: c.bundle.Spec.Annotations,
	}
	for _, name := range names {
		if err := hooks.Run(c.plan.HostHooks, name, state); err != nil {
			return err
		}
	}
	return nil
}

// bootSandbox starts the monitor, in the shim's network namespace and in the container's cgroup, and lets it boot.
func (c *creation) bootSandbox(ctx context.Context) error {
	ns := "/proc/" + strconv.Itoa(c.shim.PID) + "/ns/net"
	err := netns.Do(ns, func() (err error) {
		c.monitor, err = monitor.Start(c.globals.ChildFlags())
		return err
	})
	if err != nil {
		return err
	}
	c.container.Monitor = c.monitor.Process
	if err := c.container.Save(); err != nil {
		return err
	}
	if err := c.cgroup.Add(c.monitor.PID); err != nil {
		return err
	}
	return c.monitor.Boot(ctx, c.sandboxConfig(), monitor.At(c.container.Dir()))
}

func (c *creation) killMonitor() error {
	if c.monitor == nil {
		return nil
	}
	return c.monitor.Kill()
}

// cleanNetwork removes what a monitor that was killed could not.
func (c *creation) cleanNetwork() error {
	if c.plan.NetNS.Path == "" || c.monitor == nil {
		return nil
	}
	return netns.Cleanup(c.plan.NetNS.Path)
}

// createInGuest makes the container in the guest.
func (c *creation) createInGuest(ctx context.Context) error {
	spec, err := json.Marshal(c.plan.Guest)
	if err != nil {
		return err
	}
	client, err := c.dialAgent(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	request := &agentproto.CreateContainerRequest{
		ContainerId: c.ID, Spec: spec, NoPivot: c.NoPivot, NoNewKeyring: c.NoNewKeyring, GuestSysctls: c.plan.GuestSysctls,
	}
	if size := c.bundle.Spec.Process.ConsoleSize; size != nil {
		request.TtySizeSet = true
		request.ConsoleHeight, request.ConsoleWidth = uint32(size.Height), uint32(size.Width)
	}
	if _, err := client.Agent().CreateContainer(ctx, request); err != nil {
		return agentclient.FromStatus(err)
	}
	return nil
}

func (c *creation) dialAgent(ctx context.Context) (*agentclient.Client, error) {
	return agentclient.Dial(ctx, func(ctx context.Context) (net.Conn, error) {
		return monitor.DialAgent(ctx, monitor.At(c.container.Dir()))
	})
}

// attachShim connects the shim to the guest's process, and the container's life to the sandbox's.
func (c *creation) attachShim(ctx context.Context) error {
	agent, err := monitor.DialAgent(ctx, monitor.At(c.container.Dir()))
	if err != nil {
		return err
	}
	defer agent.Close()
	lifeline, err := monitor.Attach(ctx, monitor.At(c.container.Dir()), c.ID)
	if err != nil {
		return err
	}
	defer lifeline.Close()
	return c.shim.Attach(ctx, agent, lifeline)
}

// finish hands out the terminal, completes the record and, last of all, writes the pid file.
func (c *creation) finish() error {
	if c.console != nil && !c.Attached {
		if err := c.console.Send(c.ConsoleSocket); err != nil {
			return err
		}
		if err := c.console.Close(); err != nil {
			return err
		}
		c.console = nil
	}
	c.container.Ready = true
	c.container.Creator = pidfd.Process{}
	if err := c.container.Save(); err != nil {
		return err
	}
	if err := c.monitor.Commit(); err != nil {
		return err
	}
	return WritePidFile(c.PidFile, c.shim.PID)
}

// WritePidFile writes a pid in decimal, atomically; an empty path is no file.
func WritePidFile(path string, pid int) error {
	if path == "" {
		return nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(path, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return nil
}
