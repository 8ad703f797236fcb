package netns

import (
	"bytes"
	"cmp"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// interfaces converts the links that Read is to return.
func (d *dump) interfaces() []Interface {
	var all []Interface
	for _, link := range d.links {
		if !isEthernet(link) || isOurTap(link) || d.isPort(link) {
			continue
		}
		i := d.convertLink(link)
		if i.Up || len(i.Addresses) > 0 {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b Interface) int { return cmp.Compare(a.Index, b.Index) })
	return all
}

// isEthernet leaves out loopback, and devices without Ethernet frames such as tun, sit0, tunl0 and ip6tnl0.
func isEthernet(link netlink.Link) bool {
	attrs := link.Attrs()
	return attrs.EncapType == "ether" && attrs.Flags&net.FlagLoopback == 0
}

// isPort says whether another link of the namespace takes everything that arrives on this one.
func (d *dump) isPort(link netlink.Link) bool {
	master := link.Attrs().MasterIndex
	return master != 0 && slices.ContainsFunc(d.links, func(l netlink.Link) bool {
		return l.Attrs().Index == master && slices.Contains([]string{"bridge", "bond", "team"}, l.Type())
	})
}

func (d *dump) convertLink(link netlink.Link) Interface {
	attrs := link.Attrs()
	i := Interface{
		Name:     attrs.Name,
		MAC:      attrs.HardwareAddr.String(),
		MTU:      attrs.MTU,
		Index:    attrs.Index,
		Kind:     link.Type(),
		Up:       attrs.Flags&net.FlagUp != 0,
		TxQueues: attrs.NumTxQueues,
	}
	for _, a := range d.addresses {
		if a.LinkIndex == attrs.Index && isWanted(a, attrs.HardwareAddr) {
			i.Addresses = append(i.Addresses, a.IPNet.String())
		}
	}
	return i
}

// isWanted leaves out addresses that a machine with the same MAC gives itself, and duplicates found by DAD.
func isWanted(a netlink.Addr, mac net.HardwareAddr) bool {
	if a.IPNet == nil || a.Flags&unix.IFA_F_DADFAILED != 0 {
		return false
	}
	return !isEUI64(a.IP, mac)
}

// isEUI64 says whether ip is the link-local IPv6 address made from mac (RFC 4291, appendix A).
func isEUI64(ip net.IP, mac net.HardwareAddr) bool {
	if len(mac) != 6 || len(ip) != net.IPv6len || !ip.IsLinkLocalUnicast() {
		return false
	}
	want := []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
	return bytes.Equal(ip[8:], want)
}

// convertNeighbours keeps the permanent entries of the named links.
func convertNeighbours(all []netlink.Neigh, names map[int]string) []Neighbour {
	var kept []Neighbour
	for _, n := range all {
		name, ok := names[n.LinkIndex]
		isIP := n.Family == unix.AF_INET || n.Family == unix.AF_INET6
		if !ok || !isIP || n.State != unix.NUD_PERMANENT || len(n.HardwareAddr) == 0 {
			continue
		}
		kept = append(kept, Neighbour{
			Interface: name,
			Address:   n.IP.String(),
			MAC:       n.HardwareAddr.String(),
			State:     uint32(n.State),
			Flags:     uint32(n.Flags),
		})
	}
	return kept
}
