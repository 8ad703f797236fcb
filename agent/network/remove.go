package network

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

// removeEntries removes rules, routes and neighbours that went away. Many are gone already: the kernel removes them with
// their interface or address, and a container may have removed others.
func removeEntries(r *agentproto.ConfigureNetworkRequest) error {
	index, err := indexes()
	if err != nil {
		return err
	}
	for _, u := range r.GetRemoveRules() {
		rule, err := convertRule(u)
		if err != nil {
			return fmt.Errorf("rule %d: %w", u.GetPriority(), err)
		}
		if err := netlink.RuleDel(rule); err != nil && !isGone(err) {
			return fmt.Errorf("remove rule %v: %w", rule, err)
		}
	}
	for _, x := range r.GetRemoveRoutes() {
		if !allExist(index, routeInterfaces(x)) {
			continue
		}
		route, err := convertRoute(x, index)
		if err != nil {
			return fmt.Errorf("route to %q: %w", x.GetDestination(), err)
		}
		if err := netlink.RouteDel(route); err != nil && !isGone(err) {
			return fmt.Errorf("remove route %v: %w", route, err)
		}
	}
	return removeNeighbours(r.GetRemoveNeighbours(), index)
}

func removeNeighbours(neighbours []*agentproto.Neighbour, index map[string]int) error {
	for _, n := range neighbours {
		if !allExist(index, []string{n.GetInterface()}) {
			continue
		}
		entry, err := convertNeighbour(n, index)
		if err != nil {
			return fmt.Errorf("neighbour %q: %w", n.GetAddress(), err)
		}
		if err := netlink.NeighDel(entry); err != nil && !isGone(err) {
			return fmt.Errorf("remove neighbour %v: %w", entry, err)
		}
	}
	return nil
}

// routeInterfaces names the interfaces that a route leads over, if any.
func routeInterfaces(r *agentproto.Route) []string {
	var names []string
	if name := r.GetInterface(); name != "" {
		names = append(names, name)
	}
	for _, h := range r.GetMultipath() {
		names = append(names, h.GetInterface())
	}
	return names
}

func allExist(index map[string]int, names []string) bool {
	for _, name := range names {
		if _, ok := index[name]; !ok {
			return false
		}
	}
	return true
}

// isGone recognizes what rtnetlink answers about a route, rule or neighbour that is not there.
func isGone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}
