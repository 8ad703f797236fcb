package sandbox

import (
	"reflect"
	"slices"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/netns"
)

// networkChange spells in the agent's words what makes a guest that is as old says like now says. What is the same in
// both is left out, so that it stays as the container may have changed it itself, but for what leads over an interface
// that changed: the guest's kernel may have dropped it.
func networkChange(old, now netns.State) *agentproto.ConfigureNetworkRequest {
	changed := difference(now.Interfaces, old.Interfaces)
	touched := func(name string) bool {
		return slices.ContainsFunc(changed, func(i netns.Interface) bool { return i.Name == name })
	}
	r := &agentproto.ConfigureNetworkRequest{
		RemoveNeighbours: convert(difference(old.Neighbours, now.Neighbours), neighbourMessage),
		RemoveRules:      convert(difference(old.Rules, now.Rules), ruleMessage),
		Interfaces:       convert(changed, interfaceMessage),
		Rules:            convert(difference(now.Rules, old.Rules), ruleMessage),
	}
	stale := staleRoutes(old.Routes, now.Routes, touched)
	r.RemoveRoutes = convert(filter(old.Routes, stale), routeMessage)
	r.Routes = convert(filter(now.Routes, stale), routeMessage)
	for _, n := range now.Neighbours {
		if touched(n.Interface) || !contains(old.Neighbours, n) {
			r.Neighbours = append(r.Neighbours, neighbourMessage(n))
		}
	}
	return r
}

// routeKey is what routes have in common of which the first one is used.
type routeKey struct {
	family, table, tos, priority uint32
	destination                  string
}

func keyOf(r netns.Route) routeKey {
	return routeKey{r.Family, r.Table, r.TOS, r.Priority, r.Destination}
}

// staleRoutes says which routes have to be removed, and added again in their order: all those of a key of which one has
// changed or leads over an interface that has.
func staleRoutes(old, now []netns.Route, touched func(name string) bool) func(netns.Route) bool {
	return func(r netns.Route) bool {
		same := func(x netns.Route) bool { return keyOf(x) == keyOf(r) }
		after := filter(now, same)
		return !reflect.DeepEqual(filter(old, same), after) ||
			slices.ContainsFunc(after, func(x netns.Route) bool { return slices.ContainsFunc(routeInterfaces(x), touched) })
	}
}

func filter[T any](list []T, want func(T) bool) []T {
	var out []T
	for _, x := range list {
		if want(x) {
			out = append(out, x)
		}
	}
	return out
}

// difference returns what is in all and not in less.
func difference[T any](all, less []T) []T {
	return filter(all, func(x T) bool { return !contains(less, x) })
}

func contains[T any](list []T, x T) bool {
	return slices.ContainsFunc(list, func(y T) bool { return reflect.DeepEqual(x, y) })
}

func convert[T, M any](list []T, message func(T) M) []M {
	var out []M
	for _, x := range list {
		out = append(out, message(x))
	}
	return out
}

// routeInterfaces names the interfaces that a route leads over, if any.
func routeInterfaces(r netns.Route) []string {
	names := []string{r.Interface}
	for _, h := range r.Multipath {
		names = append(names, h.Interface)
	}
	return names
}

// withoutInterface leaves out an interface and what leads over it.
func withoutInterface(s netns.State, name string) netns.State {
	return netns.State{
		Interfaces: filter(s.Interfaces, func(i netns.Interface) bool { return i.Name != name }),
		Routes:     filter(s.Routes, func(r netns.Route) bool { return !slices.Contains(routeInterfaces(r), name) }),
		Neighbours: filter(s.Neighbours, func(n netns.Neighbour) bool { return n.Interface != name }),
		Rules:      s.Rules,
	}
}

func interfaceMessage(i netns.Interface) *agentproto.Interface {
	return &agentproto.Interface{Name: i.Name, Mac: i.MAC, Mtu: uint32(i.MTU), Addresses: i.Addresses, Up: i.Up}
}

func routeMessage(x netns.Route) *agentproto.Route {
	route := &agentproto.Route{
		Destination: x.Destination, Gateway: x.Gateway, Source: x.Source, Interface: x.Interface,
		Scope: x.Scope, Table: x.Table, Priority: x.Priority, Mtu: x.MTU, Type: x.Type, Family: x.Family,
		Flags: x.Flags, Protocol: x.Protocol, Advmss: x.AdvMSS, Tos: x.TOS,
	}
	for _, h := range x.Multipath {
		route.Multipath = append(route.Multipath, &agentproto.NextHop{
			Gateway: h.Gateway, Interface: h.Interface, Weight: h.Weight, Flags: h.Flags,
		})
	}
	return route
}

func neighbourMessage(n netns.Neighbour) *agentproto.Neighbour {
	return &agentproto.Neighbour{Interface: n.Interface, Address: n.Address, Mac: n.MAC, State: n.State, Flags: n.Flags}
}

func ruleMessage(u netns.Rule) *agentproto.Rule {
	return &agentproto.Rule{
		Family: u.Family, Priority: u.Priority, Table: u.Table, Source: u.Source, Destination: u.Destination,
		Mark: u.Mark, Mask: u.Mask, InputInterface: u.InputInterface, OutputInterface: u.OutputInterface, Invert: u.Invert,
	}
}
