package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

func isNotFound(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound)
}

// findLinks finds the NIC of each interface by its hardware address, and waits for those that were plugged in just now.
func findLinks(ctx context.Context, ifaces []*agentproto.Interface) ([]netlink.Link, error) {
	macs := make([]net.HardwareAddr, len(ifaces))
	for i, iface := range ifaces {
		mac, err := net.ParseMAC(iface.GetMac())
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", iface.GetName(), err)
		}
		macs[i] = mac
	}
	if found, missing, err := matchLinks(macs); err != nil || missing < 0 {
		return found, err
	}
	return waitForLinks(ctx, macs)
}

// waitForLinks looks again whenever the kernel reports a change.
func waitForLinks(ctx context.Context, macs []net.HardwareAddr) ([]netlink.Link, error) {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return nil, fmt.Errorf("watch the interfaces: %w", err)
	}
	for {
		found, missing, err := matchLinks(macs)
		if err != nil || missing < 0 {
			return found, err
		}
		select {
		case _, ok := <-updates:
			if !ok {
				return nil, errors.New("watch the interfaces: the kernel closed the subscription")
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("no NIC with address %v appeared in the guest: %w", macs[missing], ctx.Err())
		}
	}
}

// matchLinks returns the links of the hardware addresses, and the index of the first that has none, or -1.
func matchLinks(macs []net.HardwareAddr) ([]netlink.Link, int, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, 0, fmt.Errorf("list the interfaces: %w", err)
	}
	found := make([]netlink.Link, len(macs))
	for i, mac := range macs {
		for _, l := range all {
			// A container of the guest may have made virtual interfaces with any address it likes.
			if l.Type() == "device" && bytes.Equal(l.Attrs().HardwareAddr, mac) {
				found[i] = l
			}
		}
		if found[i] == nil {
			return nil, i, nil
		}
	}
	return found, -1, nil
}

// rename gives each link its name. A link that has another's name steps aside first.
func rename(links []netlink.Link, ifaces []*agentproto.Interface) error {
	for i, iface := range ifaces {
		name := iface.GetName()
		if name == "" || len(name) >= unix.IFNAMSIZ {
			return fmt.Errorf("interface name %q: want 1 to %d bytes", name, unix.IFNAMSIZ-1)
		}
		if links[i].Attrs().Name == name {
			continue
		}
		holder, err := netlink.LinkByName(name)
		switch {
		case isNotFound(err):
		case err != nil:
			return fmt.Errorf("interface %s: %w", name, err)
		default:
			aside := fmt.Sprintf("runvm%d", holder.Attrs().Index)
			if err := setName(holder, aside); err != nil {
				return err
			}
			renamed(links, holder.Attrs().Index, aside)
		}
		if err := setName(links[i], name); err != nil {
			return err
		}
		renamed(links, links[i].Attrs().Index, name)
	}
	return nil
}

func renamed(links []netlink.Link, index int, name string) {
	for _, l := range links {
		if l.Attrs().Index == index {
			l.Attrs().Name = name
		}
	}
}

// setName renames an interface, which the kernel allows only while it is down.
func setName(l netlink.Link, name string) error {
	if err := netlink.LinkSetDown(l); err != nil {
		return fmt.Errorf("interface %s down: %w", l.Attrs().Name, err)
	}
	if err := netlink.LinkSetName(l, name); err != nil {
		return fmt.Errorf("rename interface %s to %s: %w", l.Attrs().Name, name, err)
	}
	return nil
}

// configure sets MTU, addresses and state.
func configure(l netlink.Link, iface *agentproto.Interface) error {
	if mtu := int(iface.GetMtu()); mtu != 0 && mtu != l.Attrs().MTU {
		if err := netlink.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("set mtu %d: %w", mtu, err)
		}
	}
	if err := setAddresses(l, iface.GetAddresses()); err != nil {
		return err
	}
	set, word := netlink.LinkSetUp, "up"
	if !iface.GetUp() {
		set, word = netlink.LinkSetDown, "down"
	}
	if err := set(l); err != nil {
		return fmt.Errorf("bring %s: %w", word, err)
	}
	return nil
}

// setAddresses adds what is missing, in order, and removes what is not wanted but for what the kernel made itself.
func setAddresses(l netlink.Link, cidrs []string) error {
	old, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the addresses: %w", err)
	}
	wanted := make(map[string]bool, len(cidrs))
	addrs := make([]*netlink.Addr, len(cidrs))
	for i, cidr := range cidrs {
		if addrs[i], err = parseAddr(cidr); err != nil {
			return err
		}
		wanted[addrs[i].IPNet.String()] = true
	}
	for _, a := range old {
		if wanted[a.IPNet.String()] || a.IP.IsLinkLocalUnicast() && a.IP.To4() == nil {
			continue
		}
		if err := netlink.AddrDel(l, &a); err != nil {
			return fmt.Errorf("remove address %s: %w", a.IPNet, err)
		}
	}
	for _, a := range addrs {
		if err := netlink.AddrAdd(l, a); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add address %s: %w", a.IPNet, err)
		}
	}
	return nil
}

func parseAddr(cidr string) (*netlink.Addr, error) {
	ip, prefix, err := net.ParseCIDR(cidr)
	if err != nil {
		return nil, err
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: prefix.Mask}}
	if ip.To4() == nil {
		// The host's interface has the same address: looking for duplicates would find it.
		a.Flags = unix.IFA_F_NODAD
	} else if ones, _ := prefix.Mask.Size(); ones < 31 {
		a.Broadcast = broadcast(ip.To4(), prefix.Mask)
	}
	return a, nil
}

func broadcast(ip net.IP, mask net.IPMask) net.IP {
	b := make(net.IP, len(ip))
	for i := range ip {
		b[i] = ip[i] | ^mask[i]
	}
	return b
}
