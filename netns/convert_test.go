package netns

import (
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files anew")

func prefix(t *testing.T, s string) *net.IPNet {
	t.Helper()
	ip, n, err := net.ParseCIDR(s)
	if err != nil {
		t.Fatal(err)
	}
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	return &net.IPNet{IP: ip, Mask: n.Mask}
}

func device(kind, name string, index int, encap string, flags net.Flags) netlink.Link {
	attrs := netlink.LinkAttrs{
		Name: name, Index: index, EncapType: encap, Flags: flags, MTU: 1500, NumTxQueues: 1,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(index)},
	}
	switch kind {
	case "veth":
		return &netlink.Veth{LinkAttrs: attrs}
	case "bridge":
		return &netlink.Bridge{LinkAttrs: attrs}
	case "tuntap":
		return &netlink.Tuntap{LinkAttrs: attrs}
	}
	return &netlink.GenericLink{LinkAttrs: attrs, LinkType: kind}
}

// sampleLinks holds an uplink (2), a second one that is down but has an address (3), and links that Read skips.
func sampleLinks() []netlink.Link {
	port := device("veth", "port0", 8, "ether", net.FlagUp)
	port.Attrs().MasterIndex = 7
	alias := device("tuntap", "other", 10, "ether", net.FlagUp)
	alias.Attrs().Alias = tapAlias
	return []netlink.Link{
		device("dummy", "lo", 1, "loopback", net.FlagUp|net.FlagLoopback),
		device("veth", "net1", 3, "ether", 0),
		device("veth", "eth0", 2, "ether", net.FlagUp),
		device("ipip", "tunl0", 4, "ipip", 0),
		device("gretap", "gretap0", 5, "ether", 0),
		device("tuntap", "tap2_rvm", 6, "ether", net.FlagUp),
		device("bridge", "br0", 7, "ether", net.FlagUp),
		port,
		device("tuntap", "tap0", 9, "ether", net.FlagUp),
		alias,
	}
}

func sampleAddresses(t *testing.T) []netlink.Addr {
	return []netlink.Addr{
		{LinkIndex: 1, IPNet: prefix(t, "127.0.0.1/8")},
		{LinkIndex: 2, IPNet: prefix(t, "10.88.0.2/16")},
		{LinkIndex: 2, IPNet: prefix(t, "10.88.0.3/16"), Flags: unix.IFA_F_SECONDARY},
		{LinkIndex: 2, IPNet: prefix(t, "10.9.9.1/32"), Peer: prefix(t, "10.9.9.2/32")},
		{LinkIndex: 2, IPNet: prefix(t, "fd00::2/64")},
		{LinkIndex: 2, IPNet: prefix(t, "fd00::bad/64"), Flags: unix.IFA_F_DADFAILED},
		{LinkIndex: 2, IPNet: prefix(t, "fe80::ff:fe00:2/64")},
		{LinkIndex: 2, IPNet: prefix(t, "fe80::1234/64")},
		{LinkIndex: 3, IPNet: prefix(t, "192.168.7.5/24")},
	}
}

func sampleRoutes(t *testing.T) []netlink.Route {
	v4 := func(r netlink.Route) netlink.Route {
		r.Family = unix.AF_INET
		if r.Table == 0 {
			r.Table = unix.RT_TABLE_MAIN
		}
		if r.Type == 0 {
			r.Type = unix.RTN_UNICAST
		}
		if r.Protocol == 0 {
			r.Protocol = unix.RTPROT_BOOT
		}
		return r
	}
	v6 := func(r netlink.Route) netlink.Route {
		r = v4(r)
		r.Family = unix.AF_INET6
		return r
	}
	link := netlink.Scope(unix.RT_SCOPE_LINK)
	kernel := netlink.RouteProtocol(unix.RTPROT_KERNEL)
	me, gw := net.IP{10, 88, 0, 2}, net.IP{10, 88, 0, 1}
	return []netlink.Route{
		v4(netlink.Route{LinkIndex: 2, Dst: prefix(t, "0.0.0.0/0"), Gw: gw, Priority: 100, MTU: 1400, AdvMSS: 1360}),
		v4(netlink.Route{LinkIndex: 2, Dst: prefix(t, "172.16.0.0/12"), Gw: net.IP{1, 1, 1, 1},
			Flags: unix.RTNH_F_ONLINK | unix.RTNH_F_LINKDOWN}),
		// Connected: made anew. With another metric, source or table: not.
		v4(netlink.Route{LinkIndex: 2, Dst: prefix(t, "10.88.0.0/16"), Src: me, Scope: link, Protocol: kernel}),
		v4(netlink.Route{LinkIndex: 2, Dst: prefix(t, "10.88.0.0/16"), Src: me, Scope: link, Protocol: kernel,
			Priority: 50}),
		v4(netlink.Route{LinkIndex: 2, Dst: prefix(t, "10.88.0.0/16"), Src: me, Scope: link, Table: 100}),
		v4(netlink.Route{LinkIndex: 2, Dst: prefix(t, "10.9.9.2/32"), Src: net.IP{10, 9, 9, 1}, Scope: link,
			Protocol: kernel}),
		v4(netlink.Route{Dst: prefix(t, "10.66.0.0/16"), Type: unix.RTN_BLACKHOLE}),
		v4(netlink.Route{Dst: prefix(t, "10.77.0.0/16"), MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: 2, Gw: gw, Hops: 9}, {LinkIndex: 2, Gw: net.IP{10, 88, 0, 9}, Flags: unix.RTNH_F_DEAD}, {LinkIndex: 4},
		}}),
		v4(netlink.Route{LinkIndex: 2, Dst: prefix(t, "10.78.0.0/16"),
			Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: net.ParseIP("fe80::1")}}),
		v4(netlink.Route{LinkIndex: 1, Dst: prefix(t, "0.0.0.0/0"), Type: unix.RTN_LOCAL, Table: 100,
			Scope: unix.RT_SCOPE_HOST}),
		v4(netlink.Route{LinkIndex: 4, Dst: prefix(t, "10.79.0.0/16"), Scope: link}),
		v4(netlink.Route{LinkIndex: 2, Dst: prefix(t, "10.88.0.2/32"), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL}),
		v6(netlink.Route{LinkIndex: 2, Dst: prefix(t, "::/0"), Gw: net.ParseIP("fd00::1"), Priority: 1024}),
		v6(netlink.Route{LinkIndex: 2, Dst: prefix(t, "fd00::/64"), Protocol: kernel, Priority: 256}),
		v6(netlink.Route{LinkIndex: 2, Dst: prefix(t, "fe80::/64"), Protocol: kernel, Priority: 256}),
		v6(netlink.Route{LinkIndex: 1, Dst: prefix(t, "::1/128"), Protocol: kernel, Priority: 256}),
		v6(netlink.Route{LinkIndex: 1, Dst: prefix(t, "fd66::/64"), Type: unix.RTN_UNREACHABLE, Priority: 1024}),
	}
}

func sampleDump(t *testing.T) dump {
	mask := uint32(0xff)
	rule := func(r netlink.Rule) netlink.Rule {
		r.Goto, r.Flow, r.SuppressIfgroup, r.SuppressPrefixlen = -1, -1, -1, -1
		return r
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 99}
	return dump{
		links:     sampleLinks(),
		addresses: sampleAddresses(t),
		routes:    sampleRoutes(t),
		neighbours: []netlink.Neigh{
			{LinkIndex: 2, Family: unix.AF_INET, State: unix.NUD_PERMANENT, IP: net.IP{10, 88, 0, 1}, HardwareAddr: mac},
			{LinkIndex: 2, Family: unix.AF_INET, State: unix.NUD_REACHABLE, IP: net.IP{10, 88, 0, 8}, HardwareAddr: mac},
			{LinkIndex: 2, Family: unix.AF_BRIDGE, State: unix.NUD_PERMANENT, HardwareAddr: mac},
			{LinkIndex: 4, Family: unix.AF_INET, State: unix.NUD_PERMANENT, IP: net.IP{10, 79, 0, 1}, HardwareAddr: mac},
			{LinkIndex: 2, Family: unix.AF_INET6, State: unix.NUD_PERMANENT, Flags: unix.NTF_ROUTER,
				IP: net.ParseIP("fd00::1"), HardwareAddr: mac},
		},
		rules: []netlink.Rule{
			rule(netlink.Rule{Family: unix.AF_INET, Table: unix.RT_TABLE_LOCAL}),
			rule(netlink.Rule{Family: unix.AF_INET, Priority: 1000, Table: 100, Src: prefix(t, "10.88.0.2/32"), Mark: 1,
				Mask: &mask, IifName: "lo", Invert: true}),
			rule(netlink.Rule{Family: unix.AF_INET, Priority: 32766, Table: unix.RT_TABLE_MAIN}),
			rule(netlink.Rule{Family: unix.AF_INET, Priority: 32767, Table: unix.RT_TABLE_DEFAULT}),
			rule(netlink.Rule{Family: unix.AF_INET6, Table: unix.RT_TABLE_LOCAL}),
			rule(netlink.Rule{Family: unix.AF_INET6, Priority: 32766, Table: unix.RT_TABLE_MAIN}),
		},
	}
}

func TestStateGolden(t *testing.T) {
	d := sampleDump(t)
	state, err := d.state()
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	golden := filepath.Join("testdata", "state.json")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("state differs from %s (-want +got):\n%s", golden, diff)
	}
	var back State
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(state, back); diff != "" {
		t.Errorf("state changes in JSON (-want +got):\n%s", diff)
	}
}

func TestUnsupported(t *testing.T) {
	rule := func(change func(*netlink.Rule)) dump {
		r := netlink.NewRule()
		r.Family, r.Table = unix.AF_INET, 100
		change(r)
		return dump{rules: []netlink.Rule{*r}}
	}
	route := func(r netlink.Route) dump {
		r.Table, r.Type = unix.RT_TABLE_MAIN, unix.RTN_UNICAST
		return dump{links: sampleLinks(), routes: []netlink.Route{r},
			addresses: []netlink.Addr{{LinkIndex: 2, IPNet: prefix(t, "10.0.0.1/24")}}}
	}
	encap := &netlink.MPLSEncap{Labels: []int{1}}
	for name, d := range map[string]dump{
		"suppress":    rule(func(r *netlink.Rule) { r.SuppressPrefixlen = 0 }),
		"uid range":   rule(func(r *netlink.Rule) { r.UIDRange = netlink.NewRuleUIDRange(1, 2) }),
		"blackhole":   rule(func(r *netlink.Rule) { r.Table = 0 }),
		"goto":        rule(func(r *netlink.Rule) { r.Goto = 200 }),
		"encap":       route(netlink.Route{LinkIndex: 2, Encap: encap}),
		"encap in mp": route(netlink.Route{MultiPath: []*netlink.NexthopInfo{{LinkIndex: 2, Encap: encap}}}),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := d.state(); !errors.Is(err, ErrUnsupported) {
				t.Errorf("got %v, want ErrUnsupported", err)
			}
		})
	}
}

func TestRetry(t *testing.T) {
	for _, c := range []struct{ failures, calls int }{{0, 1}, {2, 3}, {9, maxDumpTries}} {
		calls := 0
		_, err := retry(func() ([]int, error) {
			if calls++; calls <= c.failures {
				return nil, netlink.ErrDumpInterrupted
			}
			return []int{1}, nil
		})
		if calls != c.calls || (err != nil) != (c.failures >= maxDumpTries) {
			t.Errorf("%d interruptions: %d calls, error %v", c.failures, calls, err)
		}
	}
}
