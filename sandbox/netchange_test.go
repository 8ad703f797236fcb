package sandbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/netns"
)

// TestNetworkMessages: every field gets across.
func TestNetworkMessages(t *testing.T) {
	got := networkChange(netns.State{}, netns.State{
		Interfaces: []netns.Interface{{Name: "eth0", MAC: "02:00:00:00:00:01", MTU: 1400, Addresses: []string{"10.0.0.2/24"}, Up: true}},
		Routes: []netns.Route{{
			Destination: "10.1.0.0/16", Gateway: "10.0.0.1", Source: "10.0.0.2", Interface: "eth0", Scope: 1, Table: 254,
			Priority: 5, MTU: 1300, Type: 1, Family: 2, Flags: 4, Protocol: 3, AdvMSS: 1200, TOS: 8,
			Multipath: []netns.NextHop{{Gateway: "10.0.0.3", Interface: "eth0", Weight: 2, Flags: 4}},
		}},
		Neighbours: []netns.Neighbour{{Interface: "eth0", Address: "10.0.0.9", MAC: "02:00:00:00:00:09", State: 128, Flags: 1}},
		Rules: []netns.Rule{{
			Family: 2, Priority: 100, Table: 7, Source: "10.0.0.0/24", Destination: "10.2.0.0/16", Mark: 1, Mask: 3,
			InputInterface: "eth0", OutputInterface: "eth1", Invert: true,
		}},
	})
	want := &agentproto.ConfigureNetworkRequest{
		Interfaces: []*agentproto.Interface{{Name: "eth0", Mac: "02:00:00:00:00:01", Mtu: 1400, Addresses: []string{"10.0.0.2/24"}, Up: true}},
		Routes: []*agentproto.Route{{
			Destination: "10.1.0.0/16", Gateway: "10.0.0.1", Source: "10.0.0.2", Interface: "eth0", Scope: 1, Table: 254,
			Priority: 5, Mtu: 1300, Type: 1, Family: 2, Flags: 4, Protocol: 3, Advmss: 1200, Tos: 8,
			Multipath: []*agentproto.NextHop{{Gateway: "10.0.0.3", Interface: "eth0", Weight: 2, Flags: 4}},
		}},
		Neighbours: []*agentproto.Neighbour{{Interface: "eth0", Address: "10.0.0.9", Mac: "02:00:00:00:00:09", State: 128, Flags: 1}},
		Rules: []*agentproto.Rule{{
			Family: 2, Priority: 100, Table: 7, Source: "10.0.0.0/24", Destination: "10.2.0.0/16", Mark: 1, Mask: 3,
			InputInterface: "eth0", OutputInterface: "eth1", Invert: true,
		}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// TestNetworkChange: the guest is told what differs, and no more.
func TestNetworkChange(t *testing.T) {
	eth := func(name, address string) netns.Interface {
		return netns.Interface{Name: name, MAC: "02:00:00:00:00:01", Addresses: []string{address}, Up: true}
	}
	route := func(destination, over string, hops ...string) netns.Route {
		r := netns.Route{Destination: destination, Interface: over, Table: 254}
		for _, h := range hops {
			r.Multipath = append(r.Multipath, netns.NextHop{Interface: h, Weight: 1})
		}
		return r
	}
	neighbour := func(over, address string) netns.Neighbour { return netns.Neighbour{Interface: over, Address: address} }
	old := netns.State{
		Interfaces: []netns.Interface{eth("eth0", "10.0.0.2/24"), eth("eth1", "10.1.0.2/24"), eth("eth2", "10.2.0.2/24")},
		Routes:     []netns.Route{route("a", "eth0"), route("b", "eth1"), route("c", "", "eth1", "eth0"), route("", "eth0"), route("", "eth2")},
		Neighbours: []netns.Neighbour{neighbour("eth0", "10.0.0.9"), neighbour("eth1", "10.1.0.9"), neighbour("eth2", "10.2.0.9")},
		Rules:      []netns.Rule{{Priority: 1}, {Priority: 2}},
	}
	now := netns.State{
		Interfaces: []netns.Interface{eth("eth0", "10.0.0.2/24"), eth("eth1", "10.1.0.3/24")},
		Routes:     []netns.Route{route("a", "eth0"), route("b", "eth1"), route("c", "", "eth1", "eth0"), route("", "eth0")},
		Neighbours: []netns.Neighbour{neighbour("eth0", "10.0.0.9"), neighbour("eth0", "10.0.0.8"), neighbour("eth1", "10.1.0.9")},
		Rules:      []netns.Rule{{Priority: 2}, {Priority: 3}},
	}
	want := &agentproto.ConfigureNetworkRequest{
		Interfaces:       []*agentproto.Interface{interfaceMessage(now.Interfaces[1])},
		Routes:           convert(now.Routes[1:], routeMessage),
		Neighbours:       []*agentproto.Neighbour{neighbourMessage(now.Neighbours[1]), neighbourMessage(now.Neighbours[2])},
		Rules:            []*agentproto.Rule{{Priority: 3}},
		RemoveRoutes:     convert(old.Routes[1:], routeMessage),
		RemoveNeighbours: []*agentproto.Neighbour{neighbourMessage(old.Neighbours[2])},
		RemoveRules:      []*agentproto.Rule{{Priority: 1}},
	}
	if diff := cmp.Diff(want, networkChange(old, now), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	same := &agentproto.ConfigureNetworkRequest{}
	if diff := cmp.Diff(same, networkChange(now, now), protocmp.Transform()); diff != "" {
		t.Errorf("without a change: %s", diff)
	}
	left := withoutInterface(old, "eth1")
	if len(left.Interfaces) != 2 || len(left.Routes) != 3 || len(left.Neighbours) != 2 || len(left.Rules) != 2 {
		t.Errorf("without eth1: %+v", left)
	}
}

// TestServes: a NIC stands for one interface, as long as the guest can do what the interface does.
func TestServes(t *testing.T) {
	n := &nic{iface: netns.Interface{Name: "eth0", Index: 2, MAC: "02:00:00:00:00:01", MTU: 1500}, mtu: 1500}
	for name, tc := range map[string]struct {
		change func(*netns.Interface)
		want   bool
	}{
		"same":        {func(*netns.Interface) {}, true},
		"name":        {func(i *netns.Interface) { i.Name = "net1" }, true},
		"smaller MTU": {func(i *netns.Interface) { i.MTU = 1280 }, true},
		"greater MTU": {func(i *netns.Interface) { i.MTU = 9000 }, false},
		"index":       {func(i *netns.Interface) { i.Index = 3 }, false},
		"MAC":         {func(i *netns.Interface) { i.MAC = "02:00:00:00:00:02" }, false},
	} {
		i := n.iface
		tc.change(&i)
		if got := n.serves(i); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	n.gone = true
	if n.serves(n.iface) {
		t.Error("a NIC that is gone serves")
	}
}
