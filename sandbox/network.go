package sandbox

import (
	"context"
	"errors"
	"fmt"
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
	tap   *netns.Tap
	port  int // root port it is plugged into; -1: there since boot
}

func (n *nic) device() vmm.NIC {
	return vmm.NIC{ID: n.id, MAC: n.iface.MAC, MTU: n.iface.MTU, TapFDs: n.tap.Files, Queues: len(n.tap.Files)}
}

// attachNICs makes a tap for every interface of the namespace.
func (s *Sandbox) attachNICs(state netns.State) error {
	for i, iface := range state.Interfaces {
		if _, err := s.attach(iface, fmt.Sprintf("nic%d", i), -1); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sandbox) attach(iface netns.Interface, id string, port int) (*nic, error) {
	tap, err := netns.Attach(s.config.NetNS, iface.Name, netns.TapOptions{Queues: 1, VnetHdr: true, UID: qemuID()})
	if err != nil {
		return nil, fmt.Errorf("connect interface %s to the virtual machine: %w", iface.Name, err)
	}
	n := &nic{id: id, iface: iface, tap: tap, port: port}
	s.nics = append(s.nics, n)
	return n, nil
}

// detachNICs gives every interface back. Idempotent.
func (s *Sandbox) detachNICs() error {
	var errs []error
	for _, n := range s.nics {
		errs = append(errs, n.tap.Detach())
	}
	return errors.Join(errs...)
}

// UpdateNetwork reads the namespace again and makes the guest follow: engines configure a namespace after create
// (podman with a user namespace, Docker from 26), and connect or disconnect networks while a container runs.
func (s *Sandbox) UpdateNetwork(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, err := netns.Read(s.config.NetNS)
	if err != nil {
		return fmt.Errorf("read the network namespace: %w", err)
	}
	if err := s.unplugMissing(ctx, state); err != nil {
		return err
	}
	for _, iface := range state.Interfaces {
		if slices.ContainsFunc(s.nics, func(n *nic) bool { return n.iface.MAC == iface.MAC }) {
			continue
		}
		if err := s.plug(ctx, iface); err != nil {
			return err
		}
	}
	if err := s.configureNetwork(ctx, state); err != nil {
		return err
	}
	return s.relayDNS(ctx)
}

// plug adds a NIC to the running VM.
func (s *Sandbox) plug(ctx context.Context, iface netns.Interface) error {
	port := s.freePort()
	if port < 0 {
		return fmt.Errorf("connect interface %s: all %d hot-plug ports are taken (raise vm.hotplug_ports)",
			iface.Name, s.config.HotplugPorts)
	}
	n, err := s.attach(iface, fmt.Sprintf("hotnic%d", port), port)
	if err != nil {
		return err
	}
	if err := s.qmp.AddNIC(ctx, n.device(), portName(port)); err != nil {
		s.nics = slices.DeleteFunc(s.nics, func(o *nic) bool { return o == n })
		return errors.Join(fmt.Errorf("connect interface %s: %w", iface.Name, err), n.tap.Detach())
	}
	return nil
}

// unplugMissing removes the NICs whose interface has left the namespace.
func (s *Sandbox) unplugMissing(ctx context.Context, state netns.State) error {
	for _, n := range slices.Clone(s.nics) {
		if slices.ContainsFunc(state.Interfaces, func(i netns.Interface) bool { return i.MAC == n.iface.MAC }) {
			continue
		}
		remove := &agentproto.RemoveInterfaceRequest{Name: n.iface.Name}
		if _, err := s.agent.Agent().RemoveInterface(ctx, remove); err != nil {
			return fmt.Errorf("disconnect interface %s: %w", n.iface.Name, agentclient.FromStatus(err))
		}
		// A NIC that was there at boot sits on no hot-plug port: it stays, down, without a way out.
		if n.port >= 0 {
			if err := s.qmp.RemoveDevice(ctx, n.id); err != nil {
				return fmt.Errorf("disconnect interface %s: %w", n.iface.Name, err)
			}
		}
		if err := n.tap.Detach(); err != nil {
			return err
		}
		s.nics = slices.DeleteFunc(s.nics, func(o *nic) bool { return o == n })
	}
	return nil
}

func (s *Sandbox) freePort() int {
	for port := range s.config.HotplugPorts {
		if !slices.ContainsFunc(s.nics, func(n *nic) bool { return n.port == port }) {
			return port
		}
	}
	return -1
}

// configureNetwork hands the namespace's state to the agent.
func (s *Sandbox) configureNetwork(ctx context.Context, state netns.State) error {
	if _, err := s.agent.Agent().ConfigureNetwork(ctx, networkRequest(state)); err != nil {
		return s.explain(fmt.Errorf("configure the guest's network: %w", agentclient.FromStatus(err)))
	}
	return nil
}

// networkRequest spells a namespace's state in the agent's words.
func networkRequest(state netns.State) *agentproto.ConfigureNetworkRequest {
	r := &agentproto.ConfigureNetworkRequest{}
	for _, i := range state.Interfaces {
		r.Interfaces = append(r.Interfaces, &agentproto.Interface{
			Name: i.Name, Mac: i.MAC, Mtu: uint32(i.MTU), Addresses: i.Addresses, Up: i.Up,
		})
	}
	for _, x := range state.Routes {
		route := &agentproto.Route{
			Destination: x.Destination, Gateway: x.Gateway, Source: x.Source, Interface: x.Interface,
			Scope: x.Scope, Table: x.Table, Priority: x.Priority, Mtu: x.MTU, Type: x.Type, Family: x.Family,
			Flags: x.Flags, Protocol: x.Protocol, Advmss: x.AdvMSS, Tos: x.TOS,
		}
		for _, h := range x.Multipath {
			route.Multipath = append(route.Multipath, &agentproto.NextHop{
				Gateway: h.Gateway, Interface: h.Interface, Weight: h.Weight, Flags: h.Flags,
			})
		}
		r.Routes = append(r.Routes, route)
	}
	for _, n := range state.Neighbours {
		r.Neighbours = append(r.Neighbours, &agentproto.Neighbour{
			Interface: n.Interface, Address: n.Address, Mac: n.MAC, State: n.State, Flags: n.Flags,
		})
	}
	for _, u := range state.Rules {
		r.Rules = append(r.Rules, &agentproto.Rule{
			Family: u.Family, Priority: u.Priority, Table: u.Table, Source: u.Source, Destination: u.Destination,
			Mark: u.Mark, Mask: u.Mask, InputInterface: u.InputInterface, OutputInterface: u.OutputInterface, Invert: u.Invert,
		})
	}
	return r
}
