package network

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

func addRoutes(routes []*agentproto.Route, index map[string]int) error {
	for _, r := range routes {
		route, err := convertRoute(r, index)
		if err != nil {
			return fmt.Errorf("route to %q: %w", r.GetDestination(), err)
		}
		// Appended, since several routes may differ in nothing but the way: then their order decides.
		if err := netlink.RouteAppend(route); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add route %v: %w", route, err)
		}
	}
	return nil
}

func convertRoute(r *agentproto.Route, index map[string]int) (*netlink.Route, error) {
	family := int(r.GetFamily())
	dst, err := parsePrefix(r.GetDestination(), family)
	if err != nil {
		return nil, err
	}
	route := &netlink.Route{
		Dst: dst, Family: family,
		Scope: netlink.Scope(r.GetScope()), Table: int(r.GetTable()), Priority: int(r.GetPriority()),
		MTU: int(r.GetMtu()), Type: int(r.GetType()), Flags: int(r.GetFlags()),
		Protocol: netlink.RouteProtocol(r.GetProtocol()), AdvMSS: int(r.GetAdvmss()), Tos: int(r.GetTos()),
	}
	if route.LinkIndex, err = indexOf(r.GetInterface(), index); err != nil {
		return nil, err
	}
	if route.Src, err = parseIP(r.GetSource()); err != nil {
		return nil, err
	}
	if route.Gw, route.Via, err = parseGateway(r.GetGateway(), family); err != nil {
		return nil, err
	}
	for _, h := range r.GetMultipath() {
		hop, err := convertHop(h, family, index)
		if err != nil {
			return nil, err
		}
		route.MultiPath = append(route.MultiPath, hop)
	}
	return route, nil
}

func convertHop(h *agentproto.NextHop, family int, index map[string]int) (*netlink.NexthopInfo, error) {
	if h.GetWeight() < 1 || h.GetWeight() > 256 {
		return nil, fmt.Errorf("next hop of weight %d: want 1 to 256", h.GetWeight())
	}
	link, err := indexOf(h.GetInterface(), index)
	if err != nil {
		return nil, err
	}
	gw, via, err := parseGateway(h.GetGateway(), family)
	if err != nil {
		return nil, err
	}
	// The kernel counts the weight from 0.
	return &netlink.NexthopInfo{
		LinkIndex: link, Hops: int(h.GetWeight()) - 1, Gw: gw, Via: via, Flags: int(h.GetFlags()),
	}, nil
}

// parsePrefix gives the default route's prefix for the empty string.
func parsePrefix(cidr string, family int) (*net.IPNet, error) {
	switch {
	case cidr != "":
		_, prefix, err := net.ParseCIDR(cidr)
		return prefix, err
	case family == unix.AF_INET:
		return &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, nil
	case family == unix.AF_INET6:
		return &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, nil
	default:
		return nil, fmt.Errorf("address family %d: want %d or %d", family, unix.AF_INET, unix.AF_INET6)
	}
}

func parseIP(s string) (net.IP, error) {
	if s == "" {
		return nil, nil
	}
	ip := net.ParseIP(s)
	if ip == nil {
		return nil, fmt.Errorf("%q is no IP address", s)
	}
	if v4 := ip.To4(); v4 != nil {
		return v4, nil
	}
	return ip, nil
}

// parseGateway returns a Via for an IPv4 route through an IPv6 neighbour (RFC 5549).
func parseGateway(s string, family int) (net.IP, netlink.Destination, error) {
	ip, err := parseIP(s)
	if err != nil || ip == nil {
		return nil, nil, err
	}
	if family == unix.AF_INET && len(ip) == net.IPv6len {
		return nil, &netlink.Via{AddrFamily: unix.AF_INET6, Addr: ip}, nil
	}
	return ip, nil, nil
}

func addRules(rules []*agentproto.Rule) error {
	for _, r := range rules {
		rule, err := convertRule(r)
		if err != nil {
			return fmt.Errorf("rule %d: %w", r.GetPriority(), err)
		}
		if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add rule %v: %w", rule, err)
		}
	}
	return nil
}

func convertRule(r *agentproto.Rule) (*netlink.Rule, error) {
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Table = int(r.GetFamily()), int(r.GetPriority()), int(r.GetTable())
	rule.Mark, rule.Invert = r.GetMark(), r.GetInvert()
	rule.IifName, rule.OifName = r.GetInputInterface(), r.GetOutputInterface()
	if mask := r.GetMask(); mask != 0 {
		rule.Mask = &mask
	}
	for _, p := range []struct {
		to   **net.IPNet
		cidr string
	}{{&rule.Src, r.GetSource()}, {&rule.Dst, r.GetDestination()}} {
		if p.cidr == "" {
			continue
		}
		_, prefix, err := net.ParseCIDR(p.cidr)
		if err != nil {
			return nil, err
		}
		*p.to = prefix
	}
	return rule, nil
}

func addNeighbours(neighbours []*agentproto.Neighbour, index map[string]int) error {
	for _, n := range neighbours {
		entry, err := convertNeighbour(n, index)
		if err != nil {
			return fmt.Errorf("neighbour %q: %w", n.GetAddress(), err)
		}
		if err := netlink.NeighSet(entry); err != nil {
			return fmt.Errorf("add neighbour %v: %w", entry, err)
		}
	}
	return nil
}

func convertNeighbour(n *agentproto.Neighbour, index map[string]int) (*netlink.Neigh, error) {
	link, err := indexOf(n.GetInterface(), index)
	if err != nil {
		return nil, err
	}
	ip, err := parseIP(n.GetAddress())
	if err != nil {
		return nil, err
	}
	entry := &netlink.Neigh{LinkIndex: link, IP: ip, State: int(n.GetState()), Flags: int(n.GetFlags())}
	if mac := n.GetMac(); mac != "" {
		if entry.HardwareAddr, err = net.ParseMAC(mac); err != nil {
			return nil, err
		}
	}
	return entry, nil
}
