package create

import (
	"context"
	"fmt"
	"maps"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/internal/namespace"
	"github.com/runvm/runvm/monitor"
	"github.com/runvm/runvm/netns"
	"github.com/runvm/runvm/pod"
	"github.com/runvm/runvm/sandbox"
)

// checkHostNetwork refuses the host's network namespace.
func (c *creation) checkHostNetwork() error {
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
	c.network, err = namespace.ID(n.Path)
	return err
}

// checkNetwork refuses the namespaces whose interfaces a new virtual machine must not take.
func (c *creation) checkNetwork() error {
	n := c.plan.NetNS
	if n.Path == "" {
		return nil
	}
	used, err := netns.InUse(n.Path)
	if err != nil {
		return err
	}
	if used {
		return fmt.Errorf("network namespace %s belongs to a runvm container that is not in %s: "+
			"use one --root for all containers of a pod", n.Path, c.globals.Root)
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

// findSandbox takes the container's place, in a running sandbox or in a new one.
func (c *creation) findSandbox(ctx context.Context) (err error) {
	c.place, err = pod.Find(ctx, c.globals.Store(), pod.Request{
		ID: c.ID, Kind: c.kind, Ref: c.sandboxRef, Pod: c.kind != bundle.OwnVM || c.bundle.IsPause(),
		NetNS: c.plan.NetNS.Path, Network: c.network, Join: c.joins(),
		ShareDir: c.shareDir, Cgroup: c.container.Cgroup, Creator: c.container.Creator, CheckNetwork: c.checkNetwork,
		Claim: func(sandbox string) error {
			c.container.Sandbox = sandbox
			return c.container.Save()
		},
	})
	return err
}

// joins are the namespaces of others that the container shares, besides the network.
func (c *creation) joins() map[namespace.Kind]string {
	paths := map[namespace.Kind]string{}
	for kind, path := range c.plan.Join {
		paths[namespace.Kind(kind)] = path
	}
	return paths
}

// leaveSandbox undoes findSandbox.
func (c *creation) leaveSandbox() error {
	if c.place == nil {
		return nil
	}
	return c.place.Leave()
}

// shimNamespaces says in which namespaces the shim is born: on the host, too, containers share what they share in the
// guest, but for PID namespaces, so that a path of the shim's leads to the right one.
func (c *creation) shimNamespaces() (fresh []namespace.Kind, join map[namespace.Kind]string) {
	join = c.joins()
	delete(join, namespace.PID) // see container.Member
	delete(join, namespace.User)
	if c.plan.NetNS.Path != "" {
		join[namespace.Net] = c.plan.NetNS.Path
	}
	for _, kind := range namespace.Kinds() {
		if _, joined := join[kind]; joined {
			continue
		}
		// Without a PID namespace in the guest the shim has one of its own all the same: nobody shall see the host's.
		if kind == namespace.PID || kind == namespace.Net || c.guestHas(kind) {
			fresh = append(fresh, kind)
		}
	}
	return fresh, join
}

// guestHas says whether the container does not have the guest system's namespace of the kind.
func (c *creation) guestHas(kind namespace.Kind) bool {
	t := specs.LinuxNamespaceType(kind)
	if kind == namespace.Net {
		t = specs.NetworkNamespace
	}
	for _, ns := range c.plan.Guest.Linux.Namespaces {
		if ns.Type == t {
			return true
		}
	}
	return false
}

// register writes the shim and its namespaces into the sandbox's book, and fits the guest's configuration to them.
func (c *creation) register(ctx context.Context) error {
	network, err := namespace.IDOf(c.shim.PID, namespace.Net)
	if err != nil {
		return err
	}
	if !c.place.New && network != c.place.Sandbox.Network {
		c.plan.IsolateNetwork()
	}
	member := container.Member{Shim: c.shim.Process, Namespaces: map[string]string{}}
	for _, kind := range namespace.Kinds() {
		if !c.guestHas(kind) {
			continue
		}
		if member.Namespaces[string(kind)], err = namespace.IDOf(c.shim.PID, kind); err != nil {
			return err
		}
	}
	member.Guest = maps.Clone(member.Namespaces)
	if c.guestHas(namespace.User) {
		// The shim has none: any name will do that no other container has.
		member.Guest[string(namespace.User)] = c.shareDir
	}
	for kind, name := range c.place.Guest {
		member.Guest[string(kind)] = name
	}
	c.namespaces = member.Guest
	return c.place.Update(ctx, func(r *container.SandboxRecord) {
		r.Members[c.ID] = member
		if c.place.New {
			r.Network = network
		}
	})
}

// share shows the guest the container's root, volumes and block devices.
func (c *creation) share(ctx context.Context) (err error) {
	if c.place.New {
		c.place.Hold, err = monitor.Join(ctx, monitor.At(c.place.Sandbox.Dir()), c.ID, c.shareDir)
		if err != nil {
			return err
		}
	}
	mounts := []sandbox.Mount{mount("rootfs", c.plan.Rootfs)}
	for _, s := range c.plan.Shares {
		mounts = append(mounts, mount(fmt.Sprintf("mounts/%d", s.Index), s))
	}
	ctx, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	for _, m := range mounts {
		if err := c.shareOne(ctx, m); err != nil {
			return err
		}
	}
	return c.plugDisks(ctx)
}

// shareTimeout bounds what the host may take for all mounts and block devices of a container.
const shareTimeout = 2 * time.Minute

func (c *creation) shareOne(ctx context.Context, m sandbox.Mount) error {
	f, err := sandbox.CloneMount(m)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.place.Hold.Share(ctx, m, f)
}

func mount(place string, s bundle.Share) sandbox.Mount {
	return sandbox.Mount{
		Place: place, Source: s.Source, Dir: s.Dir, Recursive: s.Recursive,
		ReadOnly: s.ReadOnly, RecursiveReadOnly: s.RecursiveReadOnly,
	}
}

// closeHold gives up the place in the virtual machine, unless the container is attached.
func (c *creation) closeHold() error {
	if c.place.Hold == nil {
		return nil
	}
	return c.place.Hold.Close()
}
