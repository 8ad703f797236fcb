package netns

import (
	"cmp"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Metrics of the routes that the kernel makes for an address: IPv4 uses none, IPv6 IP6_RT_PRIO_ADDRCONF.
const ip6ConnectedMetric = 256

// connected is what tells apart the routes that the kernel makes for addresses.
type connected struct {
	link        int
	destination string
	source      string
	priority    int
}

// convertRoutes converts the routes over the named links and the loopback, and those over none.
func (d *dump) convertRoutes(names map[int]string) ([]Route, error) {
	made := d.connectedRoutes(names)
	all := map[int]string{}
	for _, link := range d.links {
		if link.Attrs().Flags&net.FlagLoopback != 0 {
			all[link.Attrs().Index] = link.Attrs().Name
		}
	}
	for index, name := range names {
		all[index] = name
	}
	var routes []Route
	for _, r := range d.routes {
		if isKernels(r, names) || isConnected(r, made) {
			continue
		}
		route, ok, err := convertRoute(r, all)
		if err != nil {
			return nil, err
		}
		if ok {
			routes = append(routes, route)
		}
	}
	sortRoutes(routes)
	return routes, nil
}

// connectedRoutes lists the routes that the kernel makes when the named links get their addresses.
func (d *dump) connectedRoutes(names map[int]string) map[connected]bool {
	made := map[connected]bool{}
	for index := range names {
		made[connected{link: index, destination: "fe80::/64", priority: ip6ConnectedMetric}] = true
	}
	for _, a := range d.addresses {
		if a.IPNet == nil || names[a.LinkIndex] == "" {
			continue
		}
		ones, bits := a.Mask.Size()
		prefix := (&net.IPNet{IP: a.IP.Mask(a.Mask), Mask: a.Mask}).String()
		switch {
		case bits == 128:
			made[connected{link: a.LinkIndex, destination: prefix, priority: ip6ConnectedMetric}] = true
		case ones < 32 && a.Flags&unix.IFA_F_SECONDARY == 0:
			made[connected{link: a.LinkIndex, destination: prefix, source: a.IP.String()}] = true
		}
	}
	return made
}

// isKernels says whether the route comes with the kernel or with the addresses of links that are not taken over.
func isKernels(r netlink.Route, names map[int]string) bool {
	if r.Table == unix.RT_TABLE_LOCAL {
		return true
	}
	if r.Protocol != unix.RTPROT_KERNEL {
		return false
	}
	return r.Type != unix.RTN_UNICAST || names[r.LinkIndex] == ""
}

// isConnected says whether the route is exactly one that the kernel makes for an address.
func isConnected(r netlink.Route, made map[connected]bool) bool {
	plain := r.Table == unix.RT_TABLE_MAIN && r.Type == unix.RTN_UNICAST && r.Gw == nil && r.Via == nil &&
		len(r.MultiPath) == 0 && r.MTU == 0 && r.AdvMSS == 0 && r.Tos == 0
	if r.Family == unix.AF_INET && r.Scope != unix.RT_SCOPE_LINK {
		return false
	}
	key := connected{link: r.LinkIndex, source: ipString(r.Src), priority: r.Priority}
	if r.Dst != nil {
		key.destination = r.Dst.String()
	}
	return plain && made[key]
}

// convertRoute gives false for a route over links that are not taken over.
func convertRoute(r netlink.Route, names map[int]string) (Route, bool, error) {
	if r.Encap != nil || r.NewDst != nil || r.MPLSDst != nil {
		return Route{}, false, fmt.Errorf("route to %s with an encapsulation: %w (remove it)", r.Dst, ErrUnsupported)
	}
	route := Route{
		Destination: prefixString(r.Dst),
		Gateway:     gateway(r.Gw, r.Via),
		Source:      ipString(r.Src),
		Scope:       uint32(r.Scope),
		Table:       uint32(r.Table),
		Priority:    uint32(r.Priority),
		MTU:         uint32(r.MTU),
		Type:        uint32(r.Type),
		Family:      uint32(r.Family),
		Flags:       uint32(r.Flags) & unix.RTNH_F_ONLINK,
		Protocol:    uint32(r.Protocol),
		AdvMSS:      uint32(r.AdvMSS),
		TOS:         uint32(r.Tos),
	}
	switch {
	case isReject(r.Type): // IPv6 shows these on the loopback
		return route, true, nil
	case len(r.MultiPath) > 0:
		var err error
		route.Flags = 0
		route.Multipath, err = convertHops(r, names)
		return route, len(route.Multipath) > 0, err
	}
	route.Interface = names[r.LinkIndex]
	return route, route.Interface != "", nil
}

func convertHops(r netlink.Route, names map[int]string) ([]NextHop, error) {
	var hops []NextHop
	for _, h := range r.MultiPath {
		if h.Encap != nil || h.NewDst != nil {
			return nil, fmt.Errorf("route to %s with an encapsulation: %w (remove it)", r.Dst, ErrUnsupported)
		}
		if name := names[h.LinkIndex]; name != "" {
			hops = append(hops, NextHop{
				Gateway:   gateway(h.Gw, h.Via),
				Interface: name,
				Weight:    uint32(h.Hops) + 1,
				Flags:     uint32(h.Flags) & unix.RTNH_F_ONLINK,
			})
		}
	}
	return hops, nil
}

func isReject(kind int) bool {
	return kind == unix.RTN_BLACKHOLE || kind == unix.RTN_UNREACHABLE || kind == unix.RTN_PROHIBIT ||
		kind == unix.RTN_THROW
}

// sortRoutes puts routes without a gateway first: the kernel refuses a gateway that it has no route to.
func sortRoutes(routes []Route) {
	rank := func(r Route) int {
		hasGateway := func(h NextHop) bool { return h.Gateway != "" }
		if r.Gateway != "" || slices.ContainsFunc(r.Multipath, hasGateway) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(routes, func(a, b Route) int { return cmp.Compare(rank(a), rank(b)) })
}

func gateway(gw net.IP, via netlink.Destination) string {
	if v, ok := via.(*netlink.Via); ok && gw == nil {
		return ipString(v.Addr)
	}
	return ipString(gw)
}

func ipString(ip net.IP) string {
	if ip == nil {
		return ""
	}
	return ip.String()
}

// prefixString is empty for the prefix that holds every address.
func prefixString(n *net.IPNet) string {
	if n == nil {
		return ""
	}
	if ones, _ := n.Mask.Size(); ones == 0 {
		return ""
	}
	return n.String()
}
