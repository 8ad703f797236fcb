// Package network gives the guest the interfaces, addresses, routes, rules and neighbours of the container's network
// namespace on the host.
package network

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/runvm/runvm/agentproto"
)

// plugTimeout bounds the wait for a NIC that the host has just plugged in, if the caller's context has no earlier end.
const plugTimeout = 30 * time.Second

// LoopbackUp brings the loopback interface up.
func LoopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	return nil
}

// Configure brings the interfaces that r names to the given state, and adds the rest. Calling it again with the same
// request changes nothing.
func Configure(ctx context.Context, r *agentproto.ConfigureNetworkRequest) error {
	ctx, cancel := context.WithTimeout(ctx, plugTimeout)
	defer cancel()
	for _, name := range r.GetRemoveInterfaces() {
		if err := Remove(name); err != nil {
			return err
		}
	}
	if err := removeEntries(r); err != nil {
		return err
	}
	links, err := findLinks(ctx, r.GetInterfaces())
	if err != nil {
		return err
	}
	if err := rename(links, r.GetInterfaces()); err != nil {
		return err
	}
	for i, iface := range r.GetInterfaces() {
		if err := configure(links[i], iface); err != nil {
			return fmt.Errorf("interface %s: %w", iface.GetName(), err)
		}
	}
	index, err := indexes()
	if err != nil {
		return err
	}
	if err := addNeighbours(r.GetNeighbours(), index); err != nil {
		return err
	}
	if err := addRoutes(r.GetRoutes(), index); err != nil {
		return err
	}
	return addRules(r.GetRules())
}

// Remove takes an interface down. One that is gone already is fine.
func Remove(name string) error {
	link, err := netlink.LinkByName(name)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	if err := netlink.LinkSetDown(link); err != nil {
		return fmt.Errorf("interface %s down: %w", name, err)
	}
	return nil
}

// indexes returns the interface indexes by name, as they are now.
func indexes() (map[string]int, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	byName := make(map[string]int, len(links))
	for _, l := range links {
		byName[l.Attrs().Name] = l.Attrs().Index
	}
	return byName, nil
}

// indexOf returns 0, which is none, for the empty name.
func indexOf(name string, byName map[string]int) (int, error) {
	index, ok := byName[name]
	if !ok && name != "" {
		return 0, fmt.Errorf("interface %q does not exist in the guest", name)
	}
	return index, nil
}
