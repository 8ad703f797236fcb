package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrInUse says that an interface already has an ingress qdisc, or that a tap of the wanted name exists.
var ErrInUse = errors.New("already in use")

// TapOptions says what tap Attach makes.
type TapOptions struct {
	Name    string // at most 15 bytes; default "tap<ifindex>_rvm"
	Queues  int    // default 1; more make a multi-queue tap
	VnetHdr bool   // frames carry a virtio-net header (IFF_VNET_HDR)
	UID     uint32 // who may attach to the tap without CAP_NET_ADMIN; 0 for nobody else
}

// Tap is a tap device that takes an interface's traffic both ways. The device lives as long as somebody has one of its
// files open, at most until Detach.
type Tap struct {
	Name      string
	Interface string
	Files     []*os.File // one for each queue; the caller's, who may close them early. Non-blocking.

	path      string
	namespace Identity
	index     int // of the tap
	ifindex   int // of the interface
}

// Attach makes a tap in the namespace at path and redirects everything that arrives at the Ethernet interface ifname to
// it, and everything that the tap's reader writes out of the interface. From then on the namespace's own network stack
// receives nothing from the interface. The tap is up and has the interface's MTU; the interface stays as it is, and
// frames flow while it is up. ErrInUse: the interface is taken (see Cleanup for what a killed owner leaves).
func Attach(path, ifname string, opts TapOptions) (*Tap, error) {
	id, err := Inode(path)
	if err != nil {
		return nil, err
	}
	t := &Tap{Interface: ifname, path: path, namespace: id}
	err = withHandle(path, func(h *netlink.Handle) error {
		link, err := h.LinkByName(ifname)
		if err != nil {
			return err
		}
		if !isEthernet(link) || isOurTap(link) {
			return fmt.Errorf("interface of kind %s: %w (only Ethernet interfaces can be attached)",
				link.Type(), ErrUnsupported)
		}
		return t.attach(h, link, opts)
	})
	if err != nil {
		return nil, fmt.Errorf("attach interface %s of %s: %w", ifname, path, err)
	}
	return t, nil
}

// attach runs inside the namespace. On an error nothing is left: the tap goes with its files.
func (t *Tap) attach(h *netlink.Handle, link netlink.Link, opts TapOptions) (err error) {
	if opts.Name == "" {
		opts.Name = fmt.Sprintf("tap%d%s", link.Attrs().Index, tapSuffix)
	}
	t.Name, t.ifindex = opts.Name, link.Attrs().Index
	if t.Files, err = openTap(opts); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.closeFiles())
		}
	}()
	tap, err := h.LinkByName(t.Name)
	if err != nil {
		return err
	}
	t.index = tap.Attrs().Index
	if err := setUpTap(h, tap, link.Attrs().MTU); err != nil {
		return err
	}
	if err := redirect(h, t.index, t.ifindex); err != nil {
		return err
	}
	return redirect(h, t.ifindex, t.index)
}

// Detach gives the interface back to the namespace's network stack and removes the tap, also while another process has
// it open. Idempotent; a namespace or interface that is gone is no error.
func (t *Tap) Detach() error {
	closed := t.closeFiles()
	err := ifAlive(t.path, func(h *netlink.Handle) error {
		if id, err := Inode(threadNS); err != nil || id != t.namespace {
			return err // another namespace has taken the path
		}
		return errors.Join(t.unredirect(h), t.remove(h))
	})
	if err = errors.Join(closed, err); err != nil {
		return fmt.Errorf("detach %s from interface %s: %w", t.Name, t.Interface, err)
	}
	return nil
}

func (t *Tap) unredirect(h *netlink.Handle) error {
	target, found, err := redirectTarget(h, t.ifindex)
	if err != nil || !found || target != t.index && target != 0 {
		return err
	}
	return deleteIngress(h, t.ifindex)
}

func (t *Tap) remove(h *netlink.Handle) error {
	link, err := h.LinkByIndex(t.index)
	if isNoLink(err) || err == nil && link.Attrs().Name != t.Name {
		return nil
	}
	if err != nil {
		return err
	}
	return deleteLink(h, link)
}

func (t *Tap) closeFiles() error {
	var errs []error
	for _, f := range t.Files {
		if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// deleteLink removes a link that may be gone already.
func deleteLink(h *netlink.Handle, link netlink.Link) error {
	if err := h.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete %s: %w", link.Attrs().Name, err)
	}
	return nil
}

func isNoLink(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV)
}
