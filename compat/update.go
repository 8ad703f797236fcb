package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/cgroup"
	"github.com/runvm/runvm/config"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/create"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/monitor"
)

// updateTimeout bounds what the guest may take to change limits: reclaiming memory takes its time.
const updateTimeout = 2 * time.Minute

// UpdateCommand is "runvm update".
func UpdateCommand(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name: "update", Usage: "update container resource constraints", ArgsUsage: "<container-id>",
		Description: `The limits change in the guest, and on the host with what is added for the virtual machine. The size of a virtual
machine is fixed: memory and CPU limits that it has no room for are refused.`,
		Flags: updateFlags(),
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 1); err != nil {
				return err
			}
			ct, err := g.Load(c.Args().First())
			if err != nil {
				return err
			}
			r, err := updateResources(c, os.Stdin)
			if err != nil {
				return err
			}
			if c.IsSet("kernel-memory") || c.IsSet("kernel-memory-tcp") {
				g.Logger.Warn("Kernel memory settings are ignored and will be removed")
			}
			return update(c.Context, g, ct, r)
		},
	}
}

// update changes a container's limits on both sides of the VM's border, or on neither.
func update(ctx context.Context, g *globals.Globals, c *container.Container, r *specs.LinuxResources) error {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	settings, err := g.Config()
	if err != nil {
		return err
	}
	unlock, err := c.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if s := c.Status(); s == container.Stopped || s == container.Creating {
		return container.ErrNotRunning
	}
	merged := bundle.MergeLimits(c.Limits, r)
	vm, err := vmSize(ctx, c)
	if err != nil {
		return err
	}
	if err := checkRoom(vm, settings.VM, merged, r); err != nil {
		return err
	}
	group, err := cgroup.Open(c.ID, c.Cgroup.Path, c.Cgroup.Systemd, c.Cgroup.Paths)
	if err != nil {
		return err
	}
	overhead := create.Overhead(settings.Cgroup)
	if err := group.Set(merged, overhead); errors.Is(err, cgroup.ErrBusy) {
		g.Logger.Warnf("container %s: %v", c.ID, err)
	} else if err != nil {
		return errors.Join(err, restore(group, c.Limits, overhead))
	}
	if err := updateGuest(ctx, c, r); err != nil {
		return errors.Join(err, restore(group, c.Limits, overhead))
	}
	c.Limits = merged
	return c.Save()
}

// restore sets the limits of the host's cgroup to what they were.
func restore(group *cgroup.Cgroup, limits *specs.LinuxResources, o cgroup.Overhead) error {
	if err := group.Set(bundle.WithoutLimits(limits), o); err != nil && !errors.Is(err, cgroup.ErrBusy) {
		return fmt.Errorf("take back the host's part: %w", err)
	}
	return nil
}

// updateGuest changes the limits of the container's cgroup in the guest.
func updateGuest(ctx context.Context, c *container.Container, r *specs.LinuxResources) error {
	bundle.KeepGuestLimits(r)
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	client, err := monitor.Agent(ctx, monitor.At(c.SandboxDir()))
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Agent().UpdateContainer(ctx, &agentproto.UpdateContainerRequest{ContainerId: c.ID, Resources: data})
	return agentclient.FromStatus(err)
}

// vmSize is the size of the container's virtual machine.
func vmSize(ctx context.Context, c *container.Container) (container.VMSize, error) {
	s := c.SandboxOf()
	if s == nil {
		return container.VMSize{}, container.ErrNotRunning
	}
	unlock, err := s.Lock(ctx) // reads the record
	if err != nil {
		return container.VMSize{}, err
	}
	unlock()
	return s.VM, nil
}

// checkRoom refuses limits that a virtual machine of the given size has no room for. What the update does not name was
// checked before.
func checkRoom(vm container.VMSize, settings config.VM, merged, update *specs.LinuxResources) error {
	if vm == (container.VMSize{}) {
		return nil
	}
	settings.CPUs = 1
	sizing := bundle.SizingOf(merged)
	need := create.VMSize(0, settings, sizing)
	if m := update.Memory; m != nil && m.Limit != nil && need.MemoryMiB > vm.MemoryMiB {
		return fmt.Errorf("memory limit of %d MiB: the virtual machine would need %d MiB and has %d MiB since its creation; "+
			"create the container with that limit, or set vm.memory_mib", sizing.MemoryBytes>>20, need.MemoryMiB, vm.MemoryMiB)
	}
	if c := update.CPU; c != nil && (c.Quota != nil || c.Period != nil) && need.CPUs > vm.CPUs {
		return fmt.Errorf("CPU quota of %.2f CPUs: the virtual machine has %d since its creation; create the container "+
			"with that quota, or set vm.vcpus", sizing.CPUs, vm.CPUs)
	}
	return nil
}
