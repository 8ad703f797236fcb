package netns

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// maxDumpTries is how often a netlink dump is taken when the namespace changes while it runs.
const maxDumpTries = 5

// dump is a namespace as netlink tells it.
type dump struct {
	links      []netlink.Link
	addresses  []netlink.Addr
	routes     []netlink.Route
	neighbours []netlink.Neigh
	rules      []netlink.Rule
}

// Read reads the namespace at path.
//
// Interfaces: every Ethernet-like one that is up or has addresses, except loopback, taps made by Attach, and the ports
// of a bridge, bond or team, which stands for them. Link-local IPv6 addresses that follow from the MAC are left out.
//
// Routes: those of every table but the local one through these interfaces or the loopback, and those through none
// (blackhole and its like). A connected route that adding an interface's addresses makes anew is left out. Metrics
// other than MTU and advmss are not read.
//
// Neighbours: permanent ones. Rules: all but the kernel's own three. A route or rule that State has no words for gives
// ErrUnsupported.
func Read(path string) (State, error) {
	var d dump
	err := withHandle(path, func(h *netlink.Handle) (err error) {
		d, err = takeDump(h)
		return err
	})
	if err != nil {
		return State{}, fmt.Errorf("read network namespace %s: %w", path, err)
	}
	state, err := d.state()
	if err != nil {
		return State{}, fmt.Errorf("network namespace %s: %w", path, err)
	}
	return state, nil
}

func takeDump(h *netlink.Handle) (dump, error) {
	var d dump
	var errs [5]error
	d.links, errs[0] = retry(h.LinkList)
	d.addresses, errs[1] = retry(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	d.routes, errs[2] = retry(func() ([]netlink.Route, error) { return allRoutes(h) })
	d.neighbours, errs[3] = retry(func() ([]netlink.Neigh, error) { return h.NeighList(0, netlink.FAMILY_ALL) })
	d.rules, errs[4] = retry(func() ([]netlink.Rule, error) { return allRules(h) })
	return d, errors.Join(errs[:]...)
}

// allRoutes asks for every table: without a filter on it the library keeps to the main one.
func allRoutes(h *netlink.Handle) ([]netlink.Route, error) {
	var routes []netlink.Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		part, err := h.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, err
		}
		routes = append(routes, part...)
	}
	return routes, nil
}

func allRules(h *netlink.Handle) ([]netlink.Rule, error) {
	v4, err := h.RuleList(netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	v6, err := h.RuleList(netlink.FAMILY_V6)
	return append(v4, v6...), err
}

// retry takes a dump again when the kernel says that it was interrupted (NLM_F_DUMP_INTR) and so may be inconsistent.
func retry[T any](list func() ([]T, error)) ([]T, error) {
	var items []T
	var err error
	for range maxDumpTries {
		if items, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return items, err
}

// state turns the dump into plain data.
func (d *dump) state() (State, error) {
	var s State
	s.Interfaces = d.interfaces()
	names := map[int]string{}
	for _, i := range s.Interfaces {
		names[i.Index] = i.Name
	}
	routes, err := d.convertRoutes(names)
	if err != nil {
		return State{}, err
	}
	s.Routes = routes
	s.Neighbours = convertNeighbours(d.neighbours, names)
	s.Rules, err = convertRules(d.rules)
	return s, err
}
