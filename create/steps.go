package create

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/cgroup"
	"github.com/runvm/runvm/config"
	"github.com/runvm/runvm/console"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/hooks"
	"github.com/runvm/runvm/internal/namespace"
	"github.com/runvm/runvm/internal/pidfd"
	"github.com/runvm/runvm/monitor"
	"github.com/runvm/runvm/netns"
	"github.com/runvm/runvm/shim"
)

// claim writes the first record: from now on state, list and delete know the container.
func (c *creation) claim() error {
	self, err := pidfd.Find(os.Getpid())
	if err != nil {
		return err
	}
	spec := c.bundle.Spec
	c.container.Record = container.Record{
		Version: spec.Version, ID: c.ID, Bundle: c.bundle.Dir, Rootfs: c.bundle.Rootfs(), Created: time.Now().UTC(),
		Readiness: c.plan.Notify.Name != "" && c.plan.Notify.Host == "",
		Terminal:  spec.Process.Terminal, Annotations: spec.Annotations, Creator: self,
		Cgroup: container.CgroupRef{Path: spec.Linux.CgroupsPath, Systemd: c.globals.SystemdCgroup},
		Limits: bundle.Limits(spec.Linux.Resources),
	}
	return c.container.Save()
}

// startShim starts the process that the container is on the host, in the container's namespaces.
func (c *creation) startShim(ctx context.Context) error {
	o := shim.Options{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Args: c.bundle.Spec.Process.Args, Isolate: true, LogFlags: c.globals.ChildFlags(),
		Files: c.files.OSFiles(),
	}
	if c.bundle.Spec.Process.Terminal {
		pair, err := console.New(c.bundle.Spec.Process.ConsoleSize)
		if err != nil {
			return err
		}
		c.console = pair
		o.Stdin, o.Stdout, o.Stderr, o.Terminal = pair.Slave, pair.Slave, pair.Slave, true
	}
	o.New, o.Join = c.shimNamespaces()
	var err error
	if c.shim, err = shim.Start(o); err != nil {
		return err
	}
	c.files.Close()
	c.container.Shim = c.shim.Process
	if err := c.container.Save(); err != nil {
		return err
	}
	return c.register(ctx)
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
	overhead := Overhead(c.config.Cgroup)
	ref := &c.container.Cgroup
	// Beside an error it may be there in part: destroyCgroup removes it after the shim has left it.
	c.cgroup, err = cgroup.New(c.ID, ref.Path, ref.Systemd, spec.Linux.Resources, overhead, c.shim.PID)
	if err != nil {
		return err
	}
	ref.Paths = c.cgroup.Paths()
	return c.container.Save()
}

// Overhead is what the host cgroup gets beyond the container's limits.
func Overhead(c config.Cgroup) cgroup.Overhead {
	return cgroup.Overhead{MemoryBytes: int64(c.MemoryOverheadMiB) << 20, CPUs: c.CPUOverhead}
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
	return c.shim.Prepare(shim.Config{
		ContainerID: c.ID, Terminal: c.bundle.Spec.Process.Terminal, View: view, Files: c.files.Kinds(),
		MemoryCgroup: c.cgroup.MemoryPath(), OOMDir: oomDir(c.bundle.Dir), Notify: c.plan.Notify.Host,
	})
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

// bootSandbox starts the monitor of a new sandbox, in the shim's network namespace, and lets it boot. The virtual machine
// is in the container's cgroup, with its limits, or in one of its own if it is a pod's.
func (c *creation) bootSandbox(ctx context.Context) error {
	if !c.place.New {
		return nil
	}
	err := netns.Do(namespace.PathOf(c.shim.PID, namespace.Net), func() (err error) {
		c.monitor, err = monitor.Start(c.globals.ChildFlags())
		return err
	})
	if err != nil {
		return err
	}
	err = c.place.Update(ctx, func(r *container.SandboxRecord) {
		r.Monitor, r.VM = c.monitor.Process, c.vmSize()
	})
	if err != nil {
		return err
	}
	if c.kind == bundle.OwnVM {
		err = c.cgroup.Add(c.monitor.PID)
	} else {
		err = c.place.SeparateCgroup()
	}
	if err != nil {
		return err
	}
	return c.monitor.Boot(ctx, c.sandboxConfig(), monitor.At(c.place.Sandbox.Dir()))
}

func (c *creation) killMonitor() error {
	if c.monitor == nil {
		return nil
	}
	return c.monitor.Kill()
}

// createInGuest makes the container in the guest.
func (c *creation) createInGuest(ctx context.Context) error {
	c.plan.Guest.Process = bundle.InheritRlimits(c.plan.Guest.Process)
	spec, err := json.Marshal(c.plan.Guest)
	if err != nil {
		return err
	}
	client, err := monitor.Agent(ctx, monitor.At(c.place.Sandbox.Dir()))
	if err != nil {
		return err
	}
	defer client.Close()
	request := &agentproto.CreateContainerRequest{
		ContainerId: c.ID, Spec: spec, NoPivot: c.NoPivot, NoNewKeyring: c.NoNewKeyring, GuestSysctls: c.plan.GuestSysctls,
		Namespaces: c.namespaces, BlockDevices: c.blockDevices(), Files: c.files.Descriptions(),
		NotifySocket: c.plan.Notify.Name,
	}
	for _, shm := range c.plan.SharedMemory {
		request.SharedMemory = append(request.SharedMemory, &agentproto.SharedMemory{Id: shm.ID, Size: shm.Size})
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

// attachShim connects the shim to the guest's process, and the container's life to the sandbox's.
func (c *creation) attachShim(ctx context.Context) error {
	agent, err := monitor.DialAgent(ctx, monitor.At(c.place.Sandbox.Dir()))
	if err != nil {
		return err
	}
	defer agent.Close()
	lifeline, err := monitor.Attach(ctx, monitor.At(c.place.Sandbox.Dir()), c.ID)
	if err != nil {
		return err
	}
	defer lifeline.Close()
	if err := c.shim.Attach(ctx, agent, lifeline); err != nil {
		return err
	}
	c.place.Unlock()
	return nil
}

// finish hands out the terminal, completes the record and then writes the pid file, for which engines wait.
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
	if err := c.pidfd.Send(c.shim.Process, "standard"); err != nil {
		return err
	}
	c.container.Ready = true
	c.container.Creator = pidfd.Process{}
	if err := c.container.Save(); err != nil {
		return err
	}
	if err := WritePidFile(c.PidFile, c.shim.PID); err != nil {
		return err
	}
	if err := c.closeHold(); err != nil {
		return err
	}
	if c.monitor == nil {
		return nil
	}
	// Last of all: afterwards the monitor is no longer ours to wait for.
	return c.monitor.Commit()
}
