package netns

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// filterPriority marks our filters: the letters "rv". A filter of this priority that redirects is ours.
const filterPriority = 0x7276

// ingressParent is the parent of the filters of an ingress qdisc (TC_H_INGRESS's major number).
const ingressParent = 0xffff0000

func ingress(ifindex int) *netlink.Ingress {
	return &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_INGRESS,
	}}
}

// redirect sends everything that arrives at one device out of another. Adding the ingress qdisc, which a device has
// once at most, is what makes a device ours: ErrInUse if there is one. On an error nothing is left.
func redirect(h *netlink.Handle, from, to int) error {
	err := h.QdiscAdd(ingress(from))
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("ingress qdisc: %w", ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("add ingress qdisc: %w", err)
	}
	// A u32 filter without a selector matches everything; not every kernel has the matchall classifier.
	filter := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: from,
			Parent:    ingressParent,
			Priority:  filterPriority,
			Protocol:  unix.ETH_P_ALL,
		},
		Actions: []netlink.Action{netlink.NewMirredAction(to)},
	}
	if err := h.FilterAdd(filter); err != nil {
		return errors.Join(fmt.Errorf("add redirect filter: %w", err), deleteIngress(h, from))
	}
	return nil
}

// redirectTarget finds our redirect on a device. The target is 0 when that device is gone.
func redirectTarget(h *netlink.Handle, ifindex int) (target int, found bool, err error) {
	filters, err := ingressFilters(h, ifindex)
	if err != nil {
		return 0, false, err
	}
	for _, f := range filters {
		u32, ok := f.(*netlink.U32)
		if !ok || u32.Priority != filterPriority {
			continue
		}
		for _, action := range u32.Actions {
			if mirred, ok := action.(*netlink.MirredAction); ok {
				return mirred.Ifindex, true, nil
			}
		}
	}
	return 0, false, nil
}

// ingressFilters is empty for a device that is gone or has no ingress qdisc.
func ingressFilters(h *netlink.Handle, ifindex int) ([]netlink.Filter, error) {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}
	filters, err := retry(func() ([]netlink.Filter, error) { return h.FilterList(link, ingressParent) })
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list ingress filters: %w", err)
	}
	return filters, nil
}

// hasIngress says whether the device has an ingress qdisc, ours or not.
func hasIngress(h *netlink.Handle, link netlink.Link) (bool, error) {
	qdiscs, err := retry(func() ([]netlink.Qdisc, error) { return h.QdiscList(link) })
	if err != nil {
		return false, fmt.Errorf("list qdiscs of %s: %w", link.Attrs().Name, err)
	}
	for _, q := range qdiscs {
		if q.Type() == "ingress" {
			return true, nil
		}
	}
	return false, nil
}

// deleteIngress removes the ingress qdisc with its filters; none, or no such device, is no error.
func deleteIngress(h *netlink.Handle, ifindex int) error {
	err := h.QdiscDel(ingress(ifindex))
	if err == nil || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return fmt.Errorf("delete ingress qdisc: %w", err)
}
