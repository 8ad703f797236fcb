//go:build privileged

package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestReadNamespace(t *testing.T) {
	ns, _ := newPair(t, "eth0")
	ns.do(t, func(h *netlink.Handle) error { return populate(t, h) })
	got, err := Read(ns.path)
	if err != nil {
		t.Fatal(err)
	}
	const inet, inet6, boot = unix.AF_INET, unix.AF_INET6, unix.RTPROT_BOOT
	base := func(r Route) Route {
		r.Protocol, r.Table, r.Type = boot, max(r.Table, 254), max(r.Type, unix.RTN_UNICAST)
		return r
	}
	want := State{
		Interfaces: []Interface{
			{Name: "eth0", MAC: innerMAC.String(), MTU: 1450, Kind: "veth", Up: true,
				Addresses: []string{"10.0.0.2/24", "fd00::2/64"}},
			{Name: "net1", MAC: "02:00:00:00:00:07", MTU: 1500, Kind: "veth", Addresses: []string{"192.168.9.1/24"}},
		},
		Routes: []Route{
			base(Route{Family: inet, Destination: "10.6.0.0/16", Type: unix.RTN_BLACKHOLE}),
			base(Route{Family: inet, Destination: "10.0.0.0/24", Interface: "eth0", Scope: unix.RT_SCOPE_LINK, Priority: 50}),
			base(Route{Family: inet6, Destination: "fd66::/64", Type: unix.RTN_UNREACHABLE, Priority: 1024}),
			base(Route{Family: inet, Gateway: "10.0.0.1", Interface: "eth0", Priority: 100, MTU: 1300, AdvMSS: 1200,
				Source: "10.0.0.2"}),
			base(Route{Family: inet, Destination: "10.5.0.0/16", Multipath: []NextHop{
				{Gateway: "10.0.0.1", Interface: "eth0", Weight: 3}, {Gateway: "10.0.0.9", Interface: "eth0", Weight: 1},
			}}),
			base(Route{Family: inet, Destination: "10.7.0.0/16", Gateway: "192.0.2.1", Interface: "eth0", Table: 300,
				Flags: unix.RTNH_F_ONLINK}),
			base(Route{Family: inet6, Gateway: "fd00::1", Interface: "eth0", Priority: 77}),
			base(Route{Family: inet6, Destination: "fd05::/64", Priority: 1024, Multipath: []NextHop{
				{Gateway: "fd00::1", Interface: "eth0", Weight: 1}, {Gateway: "fd00::9", Interface: "eth0", Weight: 1},
			}}),
		},
		Neighbours: []Neighbour{
			{Interface: "eth0", Address: "10.0.0.1", MAC: outerMAC.String(), State: unix.NUD_PERMANENT},
			{Interface: "eth0", Address: "fd00::1", MAC: outerMAC.String(), State: unix.NUD_PERMANENT},
		},
		Rules: []Rule{
			{Family: inet, Priority: 500, Table: 300, Source: "10.0.0.2/32", Mark: 7, Mask: 15},
			{Family: inet6, Priority: 501, Table: 254, Destination: "fd05::/64", OutputInterface: "eth0"},
		},
	}
	opts := cmp.Options{
		cmpopts.IgnoreFields(Interface{}, "Index", "TxQueues"),
		cmpopts.SortSlices(func(a, b Route) bool { return routeKey(a) < routeKey(b) }),
		cmpopts.SortSlices(func(a, b Neighbour) bool { return a.Address < b.Address }),
		cmpopts.SortSlices(func(a, b Interface) bool { return a.Name < b.Name }),
	}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	replay(t, got)
}

func routeKey(r Route) string { return fmt.Sprint(r.Family, r.Destination) }

// populate adds routes, rules, neighbours and a second interface that is down to a namespace of newPair.
func populate(t *testing.T, h *netlink.Handle) error {
	eth0, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = "net1", net.HardwareAddr{2, 0, 0, 0, 0, 7}
	second := &netlink.Veth{LinkAttrs: attrs, PeerName: "idle"}
	addr, _ := netlink.ParseAddr("192.168.9.1/24")
	i := eth0.Attrs().Index
	ip := net.ParseIP
	hops := func(a, b string, n int) []*netlink.NexthopInfo {
		return []*netlink.NexthopInfo{{LinkIndex: i, Gw: ip(a), Hops: n}, {LinkIndex: i, Gw: ip(b)}}
	}
	err = errors.Join(h.LinkAdd(second), h.AddrAdd(second, addr),
		addNeighbour(h, "eth0", "10.0.0.1", outerMAC), addNeighbour(h, "eth0", "fd00::1", outerMAC))
	for _, r := range []netlink.Route{
		{LinkIndex: i, Gw: ip("10.0.0.1"), Src: ip("10.0.0.2"), Priority: 100, MTU: 1300, AdvMSS: 1200},
		{LinkIndex: i, Dst: prefix(t, "10.0.0.0/24"), Scope: netlink.SCOPE_LINK, Priority: 50},
		{Dst: prefix(t, "10.6.0.0/16"), Type: unix.RTN_BLACKHOLE},
		{Dst: prefix(t, "10.5.0.0/16"), MultiPath: hops("10.0.0.1", "10.0.0.9", 2)},
		{LinkIndex: i, Dst: prefix(t, "10.7.0.0/16"), Gw: ip("192.0.2.1"), Flags: unix.RTNH_F_ONLINK, Table: 300},
		{LinkIndex: i, Dst: prefix(t, "::/0"), Gw: ip("fd00::1"), Priority: 77},
		{Dst: prefix(t, "fd66::/64"), Type: unix.RTN_UNREACHABLE},
		{Dst: prefix(t, "fd05::/64"), MultiPath: hops("fd00::1", "fd00::9", 0)},
	} {
		if e := h.RouteAdd(&r); e != nil {
			t.Errorf("add route %s: %v", r, e)
		}
	}
	mask := uint32(15)
	v4, v6 := netlink.NewRule(), netlink.NewRule()
	v4.Family, v4.Priority, v4.Table, v4.Src, v4.Mark, v4.Mask = 2, 500, 300, prefix(t, "10.0.0.2/32"), 7, &mask
	v6.Family, v6.Priority, v6.Table, v6.Dst, v6.OifName = 10, 501, 254, prefix(t, "fd05::/64"), "eth0"
	return errors.Join(err, h.RuleAdd(v4), h.RuleAdd(v6))
}

// replay adds the single-hop routes of a state in their order to a fresh namespace with the same interface, which is
// what a guest does.
func replay(t *testing.T, state State) {
	t.Helper()
	fresh, _ := newPair(t, "eth0")
	fresh.do(t, func(h *netlink.Handle) error {
		eth0, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, r := range state.Routes {
			route := netlink.Route{
				Family: int(r.Family), Type: int(r.Type), Scope: netlink.Scope(r.Scope), Table: int(r.Table),
				Priority: int(r.Priority), Flags: int(r.Flags), Gw: net.ParseIP(r.Gateway), Src: net.ParseIP(r.Source),
			}
			if r.Interface != "" {
				route.LinkIndex = eth0.Attrs().Index
			}
			for _, hop := range r.Multipath {
				route.MultiPath = append(route.MultiPath,
					&netlink.NexthopInfo{LinkIndex: eth0.Attrs().Index, Gw: net.ParseIP(hop.Gateway), Hops: int(hop.Weight) - 1})
			}
			if r.Destination != "" {
				route.Dst = prefix(t, r.Destination)
			}
			if err := h.RouteAdd(&route); err != nil {
				t.Errorf("replay route %+v: %v", r, err)
			}
		}
		return nil
	})
}

func TestForeignProcesses(t *testing.T) {
	ns := newNS(t)
	pids, err := ForeignProcesses(ns.path, nil)
	if err != nil || !slices.Equal(pids, []int{ns.pid}) {
		t.Errorf("got %v, %v, want only %d", pids, err, ns.pid)
	}
	pids, err = ForeignProcesses(ns.path, func(pid int) bool { return pid == ns.pid })
	if err != nil || len(pids) > 0 {
		t.Errorf("got %v, %v, want none", pids, err)
	}
}

func TestDo(t *testing.T) {
	ns := newNS(t)
	want, err := Inode(ns.path)
	if err != nil {
		t.Fatal(err)
	}
	if host, err := IsHost(ns.path); host || err != nil {
		t.Errorf("IsHost: %v, %v", host, err)
	}
	before, err := Inode(threadNS)
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	for range 20 {
		err := Do(ns.path, func() error {
			if id, err := Inode(threadNS); err != nil || id != want {
				t.Errorf("inside: %v, %v, want %v", id, err, want)
			}
			link, err := exec.Command("readlink", "/proc/self/ns/net").Output()
			if here, _ := os.Readlink(ns.path); err != nil || string(link) != here+"\n" {
				t.Errorf("child is in %s, not %s: %v", link, here, err)
			}
			return boom
		})
		if err != boom {
			t.Fatalf("got %v", err)
		}
		if id, err := Inode(threadNS); err != nil || id != before {
			t.Fatalf("outside: %v, %v", id, err)
		}
	}
}

func TestWatch(t *testing.T) {
	ns := newNS(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	changes, err := Watch(ctx, ns.path)
	if err != nil {
		t.Fatal(err)
	}
	ns.do(t, func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth0"
		return h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth1"})
	})
	if _, ok := <-changes; !ok {
		t.Fatal("closed without a change")
	}
	cancel()
	for range changes {
	}
}
