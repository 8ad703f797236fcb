//go:build privileged

package netns

import (
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// testNS is a namespace that lives with a process of its own.
type testNS struct {
	path string
	pid  int
	end  func() // idempotent; afterwards the namespace is gone
}

func newNS(t testing.TB) *testNS {
	t.Helper()
	cmd := exec.Command("cat") // ends with its stdin, so also with the test
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ns := &testNS{path: fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), pid: cmd.Process.Pid}
	ns.end = func() {
		if cmd.ProcessState == nil {
			stdin.Close()
			cmd.Wait()
		}
	}
	t.Cleanup(ns.end)
	return ns
}

// do runs fn with a netlink handle inside the namespace.
func (ns *testNS) do(t testing.TB, fn func(*netlink.Handle) error) {
	t.Helper()
	if err := withHandle(ns.path, fn); err != nil {
		t.Fatal(err)
	}
}

var (
	innerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	outerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
)

// newPair makes two namespaces joined by a veth pair: name in the inner one (10.0.0.2, fd00::2), "peer" in the outer
// one (10.0.0.1, fd00::1), which knows the inner MAC.
func newPair(t testing.TB, name string) (inner, outer *testNS) {
	t.Helper()
	inner, outer = newNS(t), newNS(t)
	inner.do(t, func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr, attrs.MTU = name, innerMAC, 1450
		return h.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: "peer", PeerHardwareAddr: outerMAC, PeerNamespace: netlink.NsPid(outer.pid),
		})
	})
	inner.do(t, func(h *netlink.Handle) error { return configure(h, name, "10.0.0.2/24", "fd00::2/64") })
	outer.do(t, func(h *netlink.Handle) error {
		if err := configure(h, "peer", "10.0.0.1/24", "fd00::1/64"); err != nil {
			return err
		}
		return addNeighbour(h, "peer", "10.0.0.2", innerMAC)
	})
	return inner, outer
}

func configure(h *netlink.Handle, name string, addresses ...string) error {
	for _, dev := range []string{"lo", name} {
		link, err := h.LinkByName(dev)
		if err != nil {
			return err
		}
		if err := h.LinkSetUp(link); err != nil {
			return err
		}
	}
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := h.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return nil
}

func addNeighbour(h *netlink.Handle, dev, ip string, mac net.HardwareAddr) error {
	link, err := h.LinkByName(dev)
	if err != nil {
		return err
	}
	return h.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: unix.NUD_PERMANENT, IP: net.ParseIP(ip), HardwareAddr: mac,
	})
}

// shape describes links and qdiscs, to compare a namespace before and after. The kernel sets IFF_RUNNING of a veth some
// time after both ends are up (its link watch runs in a work queue), so that flag does not count.
func (ns *testNS) shape(t *testing.T) []string {
	t.Helper()
	var lines []string
	ns.do(t, func(h *netlink.Handle) error {
		links, err := h.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			a := l.Attrs()
			lines = append(lines, fmt.Sprint(a.Index, a.Name, a.Flags&^net.FlagRunning, a.MTU, a.HardwareAddr, a.Alias))
			qdiscs, err := h.QdiscList(l)
			if err != nil {
				return err
			}
			for _, q := range qdiscs {
				lines = append(lines, fmt.Sprint(a.Name, " ", q.Type(), q.Attrs().Handle, q.Attrs().Parent))
			}
		}
		return nil
	})
	return lines
}
