//go:build privileged

package network

import (
	"context"
	"errors"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

// newNamespace puts the test's thread into an empty network namespace, which ends with the test.
func newNamespace(t *testing.T, names ...string) []netlink.Link {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if err := LoopbackUp(); err != nil {
		t.Fatal(err)
	}
	links := make([]netlink.Link, len(names))
	for i, name := range names {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "peer-" + name}); err != nil {
			t.Fatal(err)
		}
		var err error
		if links[i], err = netlink.LinkByName(name); err != nil {
			t.Fatal(err)
		}
	}
	return links
}

// Two interfaces swap their names, and a stranger has to make room.
func TestRename(t *testing.T) {
	links := newNamespace(t, "eth0", "eth1", "net0")
	ifaces := []*agentproto.Interface{{Name: "eth1"}, {Name: "eth0"}}
	if err := rename(links[:2], ifaces); err != nil {
		t.Fatal(err)
	}
	if err := rename(links[:1], []*agentproto.Interface{{Name: "net0"}}); err != nil {
		t.Fatal(err)
	}
	for want, index := range map[string]int{"net0": links[0].Attrs().Index, "eth0": links[1].Attrs().Index} {
		l, err := netlink.LinkByName(want)
		if err != nil || l.Attrs().Index != index {
			t.Errorf("%s is %v, %v; want index %d", want, l, err, index)
		}
	}
	if err := rename(links[:1], []*agentproto.Interface{{Name: "a-name-of-16-byt"}}); err == nil {
		t.Error("a long name was accepted")
	}
}

func TestConfigureConverges(t *testing.T) {
	links := newNamespace(t, "eth0")
	iface := &agentproto.Interface{Name: "eth0", Mtu: 1400, Up: true, Addresses: []string{"10.1.0.2/24", "10.1.0.3/24", "fd00::2/64"}}
	routes := []*agentproto.Route{
		{Gateway: "10.1.0.1", Interface: "eth0", Family: unix.AF_INET, Table: 254, Type: unix.RTN_UNICAST, Protocol: 3, Priority: 7},
		{Destination: "10.9.0.0/16", Family: unix.AF_INET, Table: 254, Type: unix.RTN_BLACKHOLE, Protocol: 4},
		{Gateway: "fd00::1", Interface: "eth0", Family: unix.AF_INET6, Table: 254, Type: unix.RTN_UNICAST, Protocol: 3, Priority: 1024},
	}
	rules := []*agentproto.Rule{{Family: unix.AF_INET, Priority: 100, Table: 100, Source: "10.1.0.0/24"}}
	neighbours := []*agentproto.Neighbour{{Interface: "eth0", Address: "10.1.0.9", Mac: "02:00:00:00:00:09", State: unix.NUD_PERMANENT}}
	for range 2 { // a second time changes nothing
		if err := configure(links[0], iface); err != nil {
			t.Fatal(err)
		}
		index, err := indexes()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(addNeighbours(neighbours, index), addRoutes(routes, index), addRules(rules)); err != nil {
			t.Fatal(err)
		}
	}
	checkAddresses(t, links[0], iface.GetAddresses())
	found, err := netlink.RouteList(links[0], unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(found, func(r netlink.Route) bool { return r.Gw.Equal(net.IP{10, 1, 0, 1}) && r.Priority == 7 }) {
		t.Errorf("no default route in %v", found)
	}
	iface.Addresses = iface.Addresses[1:]
	if err := configure(links[0], iface); err != nil {
		t.Fatal(err)
	}
	checkAddresses(t, links[0], iface.GetAddresses())
	if err := Remove("eth0"); err != nil {
		t.Error(err)
	}
	if err := Remove("nonesuch"); err != nil {
		t.Errorf("remove what is gone: %v", err)
	}
}

func checkAddresses(t *testing.T, l netlink.Link, want []string) {
	t.Helper()
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range addrs {
		if !a.IP.IsLinkLocalUnicast() {
			got = append(got, a.IPNet.String())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMissingNIC(t *testing.T) {
	newNamespace(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := Configure(ctx, &agentproto.ConfigureNetworkRequest{
		Interfaces: []*agentproto.Interface{{Name: "eth0", Mac: "02:00:00:00:00:01"}},
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err %v", err)
	}
}
