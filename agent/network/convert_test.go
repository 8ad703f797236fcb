package network

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

func TestConvertRoute(t *testing.T) {
	index := map[string]int{"eth0": 2}
	got, err := convertRoute(&agentproto.Route{
		Gateway: "fd00::1", Family: unix.AF_INET, Table: 254, Interface: "eth0", Type: unix.RTN_UNICAST, Flags: unix.RTNH_F_ONLINK,
	}, index)
	if err != nil {
		t.Fatal(err)
	}
	if got.Dst.String() != "0.0.0.0/0" || got.LinkIndex != 2 || got.Gw != nil || got.Via == nil {
		t.Errorf("got %v", got)
	}
	got, err = convertRoute(&agentproto.Route{
		Destination: "10.0.0.0/8", Family: unix.AF_INET,
		Multipath: []*agentproto.NextHop{{Gateway: "10.1.0.1", Interface: "eth0", Weight: 256}},
	}, index)
	if err != nil {
		t.Fatal(err)
	}
	want := []*netlink.NexthopInfo{{LinkIndex: 2, Hops: 255, Gw: net.IP{10, 1, 0, 1}}}
	if diff := cmp.Diff(want, got.MultiPath); diff != "" {
		t.Error(diff)
	}
	for name, bad := range map[string]*agentproto.Route{
		"family":      {},
		"destination": {Destination: "10.0.0.0"},
		"gateway":     {Destination: "10.0.0.0/8", Gateway: "x"},
		"source":      {Destination: "10.0.0.0/8", Source: "1.2.3"},
		"interface":   {Destination: "10.0.0.0/8", Interface: "eth9"},
		"weight":      {Destination: "10.0.0.0/8", Multipath: []*agentproto.NextHop{{Gateway: "10.1.0.1"}}},
	} {
		if r, err := convertRoute(bad, index); err == nil {
			t.Errorf("bad %s: %v", name, r)
		}
	}
}

func TestConvertRule(t *testing.T) {
	got, err := convertRule(&agentproto.Rule{Family: unix.AF_INET6, Priority: 5, Table: 100, Source: "fd00::/64", Mark: 1, Mask: 3})
	if err != nil || got.Src.String() != "fd00::/64" || *got.Mask != 3 || got.Table != 100 {
		t.Errorf("got %v, err %v", got, err)
	}
	if _, err := convertRule(&agentproto.Rule{Destination: "x"}); err == nil {
		t.Error("a bad destination was accepted")
	}
}

func TestParseAddr(t *testing.T) {
	a, err := parseAddr("10.88.0.2/16")
	if err != nil || a.IPNet.String() != "10.88.0.2/16" || a.Broadcast.String() != "10.88.255.255" {
		t.Errorf("got %v, err %v", a, err)
	}
	a, err = parseAddr("fd00::2/64")
	if err != nil || a.Flags != unix.IFA_F_NODAD {
		t.Errorf("got %v, err %v", a, err)
	}
	if _, err := parseAddr("10.0.0.1"); err == nil {
		t.Error("an address without a prefix was accepted")
	}
}
