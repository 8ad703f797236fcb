package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A tap of ours is known by its alias, and by the suffix until it has one.
const (
	tapAlias  = "runvm tap"
	tapSuffix = "_rvm"
)

const tunDevice = "/dev/net/tun"

// addrGenNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenNone = 1

func isOurTap(link netlink.Link) bool {
	attrs := link.Attrs()
	return link.Type() == "tuntap" && (attrs.Alias == tapAlias || strings.HasSuffix(attrs.Name, tapSuffix))
}

// openTap makes a tap in the calling thread's namespace and returns one file for each queue. The tap is not
// persistent: it goes when the last descriptor of it is closed.
func openTap(opts TapOptions) ([]*os.File, error) {
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if opts.VnetHdr {
		flags |= unix.IFF_VNET_HDR
	}
	if opts.Queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	var files []*os.File
	for n := range max(opts.Queues, 1) {
		exclusive := uint16(0)
		if n == 0 {
			exclusive = unix.IFF_TUN_EXCL
		}
		f, err := openQueue(opts, flags|exclusive)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// openQueue wraps the descriptor in an os.File only after TUNSETIFF: before it the descriptor cannot be polled.
func openQueue(opts TapOptions, flags uint16) (*os.File, error) {
	ifr, err := tapRequest(opts.Name, flags)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: tunDevice, Err: err}
	}
	err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	if errors.Is(err, unix.EBUSY) {
		err = ErrInUse
	}
	if err == nil && opts.UID != 0 {
		err = unix.IoctlSetInt(fd, unix.TUNSETOWNER, int(opts.UID))
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make tap %s: %w", opts.Name, err)
	}
	return os.NewFile(uintptr(fd), tunDevice), nil
}

// tapRequest refuses names that the kernel refuses (dev_valid_name) or takes for a pattern.
func tapRequest(name string, flags uint16) (*unix.Ifreq, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil || name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/:% \t\n\v\f\r") {
		return nil, fmt.Errorf("tap name %q: %w (1 to 15 bytes without blank, slash, colon and %%)", name, unix.EINVAL)
	}
	ifr.SetUint16(flags)
	return ifr, nil
}

// setUpTap marks the tap as ours, keeps the namespace's own stack silent on it and brings it up.
func setUpTap(h *netlink.Handle, tap netlink.Link, mtu int) error {
	if err := h.LinkSetAlias(tap, tapAlias); err != nil {
		return fmt.Errorf("set alias of %s: %w", tap.Attrs().Name, err)
	}
	if err := h.LinkSetMTU(tap, mtu); err != nil {
		return fmt.Errorf("set MTU of %s to %d: %w", tap.Attrs().Name, mtu, err)
	}
	if err := disableIPv6(h, tap); err != nil {
		return fmt.Errorf("disable IPv6 on %s: %w", tap.Attrs().Name, err)
	}
	if err := h.LinkSetUp(tap); err != nil {
		return fmt.Errorf("bring %s up: %w", tap.Attrs().Name, err)
	}
	return nil
}

// disableIPv6 keeps router solicitations and multicast reports off the tap. /proc/sys/net shows the namespace of the
// thread that opens it; where it is read-only the tap gets no link-local address instead, which silences it as well.
func disableIPv6(h *netlink.Handle, tap netlink.Link) error {
	name := "/proc/sys/net/ipv6/conf/" + tap.Attrs().Name + "/disable_ipv6"
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without IPv6
	}
	if err == nil {
		_, err = f.WriteString("1")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return h.LinkSetIP6AddrGenMode(tap, addrGenNone)
	}
	return nil
}
