package sandbox

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/netns"
	"github.com/runvm/runvm/vmm"
)

// nic is one interface of the namespace that the VM has taken over.
type nic struct {
	id    string // QEMU's
	iface netns.Interface
	mtu   int // the greatest that the guest may set
	tap   *netns.Tap
	port  int  // number of the port that it sits on; -1: none, it cannot be unplugged
	gone  bool // the interface has left; the guest still has to let go of the NIC
}

func (n *nic) device() vmm.NIC {
	d := vmm.NIC{ID: n.id, MAC: n.iface.MAC, MTU: n.mtu, TapFDs: n.tap.Files, Queues: len(n.tap.Files)}
	if n.port >= 0 {
		d.Port = vmm.PortID(n.port)
	}
	return d
}

// serves says whether the NIC stands for the interface. Another interface may have come in the place of one with the
// same address, and a guest cannot raise a NIC's MTU.
func (n *nic) serves(i netns.Interface) bool {
	return !n.gone && n.iface.Index == i.Index && n.iface.MAC == i.MAC && i.MTU <= n.mtu
}

// attachNICs makes a tap for every interface of the namespace, and a port for each besides those for other devices.
func (s *Sandbox) attachNICs(state netns.State) error {
	for i, iface := range state.Interfaces {
		if _, err := s.attach(iface, fmt.Sprintf("nic%d", i), -1); err != nil {
			return err
		}
	}
	s.assignPorts()
	return nil
}

// assignPorts gives the NICs the ports that they have from boot.
func (s *Sandbox) assignPorts() {
	s.ports = s.config.HotplugPorts
	for _, n := range s.nics {
		n.port = -1
		if s.ports < vmm.MaxHotplugPorts {
			n.port = s.ports
			s.ports++
		}
	}
}

func (s *Sandbox) attach(iface netns.Interface, id string, port int) (*nic, error) {
	tap, err := netns.Attach(s.config.NetNS, iface.Name, netns.TapOptions{Queues: 1, VnetHdr: true, UID: qemuID()})
	if err != nil {
		return nil, fmt.Errorf("connect interface %s to the virtual machine: %w", iface.Name, err)
	}
	n := &nic{id: id, iface: iface, mtu: iface.MTU, tap: tap, port: port}
	s.nics = append(s.nics, n)
	return n, nil
}

// adoptNICs lets those be unplugged that QEMU has been started with.
func (s *Sandbox) adoptNICs() {
	for _, n := range s.nics {
		s.qmp.AdoptNIC(n.id)
	}
}

// detachNICs gives every interface back. Idempotent.
func (s *Sandbox) detachNICs() error {
	var errs []error
	for _, n := range s.nics {
		errs = append(errs, n.tap.Detach())
	}
	return errors.Join(errs...)
}

// UpdateNetwork reads the namespace again and makes the guest follow what has changed since the last time: engines
// configure a namespace after create (podman with a user namespace, Docker from 26), and connect or disconnect networks
// while a container runs. An interface that cannot be connected costs no other one; the next call tries it again.
func (s *Sandbox) UpdateNetwork(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, err := netns.Read(s.config.NetNS)
	if err != nil {
		return fmt.Errorf("read the network namespace: %w", err)
	}
	if reflect.DeepEqual(state, s.network) && !slices.ContainsFunc(s.nics, func(n *nic) bool { return n.gone }) {
		return s.relayDNS(ctx)
	}
	errs := []error{s.unplugMissing(ctx, state)}
	for _, iface := range slices.Clone(state.Interfaces) {
		if i := slices.IndexFunc(s.nics, func(n *nic) bool { return n.serves(iface) }); i >= 0 {
			s.nics[i].iface = iface
		} else if err := s.plug(ctx, iface); err != nil {
			state = withoutInterface(state, iface.Name)
			errs = append(errs, err)
		}
	}
	errs = append(errs, s.configureNetwork(ctx, state), s.relayDNS(ctx))
	return errors.Join(errs...)
}

// plug adds a NIC to the running VM.
func (s *Sandbox) plug(ctx context.Context, iface netns.Interface) error {
	port := s.freePort()
	if port < 0 {
		return fmt.Errorf("connect interface %s: all %d hot-plug ports are taken (raise vm.hotplug_ports)",
			iface.Name, s.ports)
	}
	n, err := s.attach(iface, fmt.Sprintf("hotnic%d", port), port)
	if err != nil {
		return err
	}
	if err := s.qmp.AddNIC(ctx, n.device(), vmm.PortID(port)); err != nil {
		s.forget(n)
		return errors.Join(fmt.Errorf("connect interface %s: %w", iface.Name, err), n.tap.Detach())
	}
	return nil
}

// unplugMissing removes the NICs whose interface has left the namespace.
func (s *Sandbox) unplugMissing(ctx context.Context, state netns.State) error {
	var errs []error
	for _, n := range slices.Clone(s.nics) {
		if !slices.ContainsFunc(state.Interfaces, n.serves) {
			errs = append(errs, s.unplug(ctx, n))
		}
	}
	return errors.Join(errs...)
}

// unplug takes a NIC away. One that the guest does not let go of keeps its port, but leads nowhere.
func (s *Sandbox) unplug(ctx context.Context, n *nic) error {
	var errs []error
	if !n.gone {
		n.gone = true
		_, err := s.agent.Agent().RemoveInterface(ctx, &agentproto.RemoveInterfaceRequest{Name: n.iface.Name})
		errs = append(errs, agentclient.FromStatus(err), n.tap.Detach())
	}
	// A NIC without a port stays, down.
	if n.port >= 0 {
		errs = append(errs, s.qmp.RemoveDevice(ctx, n.id))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("disconnect interface %s: %w", n.iface.Name, err)
	}
	s.forget(n)
	return nil
}

func (s *Sandbox) forget(n *nic) {
	s.nics = slices.DeleteFunc(s.nics, func(o *nic) bool { return o == n })
}

func (s *Sandbox) freePort() int {
	for port := range s.ports {
		taken := slices.ContainsFunc(s.nics, func(n *nic) bool { return n.port == port }) ||
			slices.ContainsFunc(s.disks, func(d *disk) bool { return d.port == port })
		if !taken {
			return port
		}
	}
	return -1
}

// configureNetwork tells the agent what has changed in the namespace, which now is as state says.
func (s *Sandbox) configureNetwork(ctx context.Context, state netns.State) error {
	if _, err := s.agent.Agent().ConfigureNetwork(ctx, networkChange(s.network, state)); err != nil {
		return s.explain(fmt.Errorf("configure the guest's network: %w", agentclient.FromStatus(err)))
	}
	s.network = state
	return nil
}
