package netns

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// Cleanup undoes every Attach in the namespace at path, whoever called it: after the death of an owner that could not
// Detach. It removes our taps, our redirects, also those to a tap that is gone, and ingress qdiscs without any filter,
// which an owner killed between two steps of Attach leaves. Idempotent; a namespace that is gone is no error.
func Cleanup(path string) error {
	err := ifAlive(path, func(h *netlink.Handle) error {
		links, err := retry(h.LinkList)
		if err != nil {
			return err
		}
		var errs []error
		for _, link := range links {
			if isOurTap(link) {
				errs = append(errs, deleteLink(h, link))
			} else {
				errs = append(errs, cleanIngress(h, link))
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("clean network namespace %s: %w", path, err)
	}
	return nil
}

func cleanIngress(h *netlink.Handle, link netlink.Link) error {
	index := link.Attrs().Index
	if has, err := hasIngress(h, link); err != nil || !has {
		return err
	}
	filters, err := ingressFilters(h, index)
	if err != nil {
		return err
	}
	_, ours, err := redirectTarget(h, index)
	if err != nil || !ours && len(filters) > 0 {
		return err
	}
	return deleteIngress(h, index)
}

// InUse says whether the namespace at path holds a tap or redirect of ours.
func InUse(path string) (bool, error) {
	used := false
	err := withHandle(path, func(h *netlink.Handle) error {
		links, err := retry(h.LinkList)
		if err != nil {
			return err
		}
		for _, link := range links {
			_, redirected, err := redirectTarget(h, link.Attrs().Index)
			if err != nil {
				return err
			}
			if redirected || isOurTap(link) {
				used = true
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("look for taps in %s: %w", path, err)
	}
	return used, nil
}
