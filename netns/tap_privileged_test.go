//go:build privileged

package netns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const longest = "eth012345678901" // 15 bytes

func attach(t *testing.T, ns *testNS, opts TapOptions) *Tap {
	t.Helper()
	tap, err := Attach(ns.path, longest, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tap.Detach() })
	for _, f := range tap.Files {
		if err := f.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return tap
}

func expectInUse(t *testing.T, ns *testNS, want bool) {
	t.Helper()
	if used, err := InUse(ns.path); used != want || err != nil {
		t.Errorf("InUse: %v, %v, want %v", used, err, want)
	}
}

func expectShape(t *testing.T, ns *testNS, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, ns.shape(t)); diff != "" {
		t.Errorf("namespace differs from before (-before +after):\n%s", diff)
	}
	expectInUse(t, ns, false)
}

func TestAttachDetach(t *testing.T) {
	for _, opts := range []TapOptions{
		{}, {Queues: 1, VnetHdr: true, UID: 65534}, {Queues: 3, VnetHdr: true}, {Name: "fifteen-bytes-x"},
	} {
		t.Run(fmt.Sprint(opts), func(t *testing.T) {
			inner, _ := newPair(t, longest)
			before := inner.shape(t)
			tap := attach(t, inner, opts)
			if len(tap.Files) != max(opts.Queues, 1) {
				t.Errorf("%d files", len(tap.Files))
			}
			expectInUse(t, inner, true)
			inner.do(t, func(h *netlink.Handle) error {
				link, err := h.LinkByName(tap.Name)
				if err != nil {
					return err
				}
				if a := link.Attrs(); a.MTU != 1450 || a.Flags&net.FlagUp == 0 {
					t.Errorf("tap is %+v", a)
				}
				addrs, err := h.AddrList(link, netlink.FAMILY_ALL)
				if len(addrs) > 0 {
					t.Errorf("tap has addresses %v", addrs)
				}
				return err
			})
			state, err := Read(inner.path)
			if err != nil || len(state.Interfaces) != 1 || len(state.Routes) != 0 {
				t.Errorf("state with a tap: %+v, %v", state, err)
			}
			if _, err := Attach(inner.path, longest, TapOptions{Name: "second"}); !errors.Is(err, ErrInUse) {
				t.Errorf("second Attach: %v, want ErrInUse", err)
			}
			if _, err := Attach(inner.path, longest, opts); !errors.Is(err, ErrInUse) {
				t.Errorf("Attach again: %v, want ErrInUse", err)
			}
			for range 2 {
				if err := tap.Detach(); err != nil {
					t.Errorf("Detach: %v", err)
				}
			}
			expectShape(t, inner, before)
		})
	}
}

func TestAttachRefuses(t *testing.T) {
	inner, _ := newPair(t, longest)
	inner.do(t, func(h *netlink.Handle) error {
		link, err := h.LinkByName(longest)
		if err != nil {
			return err
		}
		return h.QdiscAdd(ingress(link.Attrs().Index))
	})
	before := inner.shape(t)
	if _, err := Attach(inner.path, longest, TapOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("foreign ingress qdisc: %v, want ErrInUse", err)
	}
	if _, err := Attach(inner.path, "lo", TapOptions{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("loopback: %v, want ErrUnsupported", err)
	}
	if _, err := Attach(inner.path, "missing", TapOptions{}); !isNoLink(err) {
		t.Errorf("missing interface: %v", err)
	}
	expectShape(t, inner, before)
}

// Of several callers at once one gets the interface; nobody leaks a descriptor.
func TestAttachRace(t *testing.T) {
	inner, _ := newPair(t, longest)
	before := inner.shape(t)
	open := openFiles(t)
	for range 5 {
		results := make(chan *Tap)
		for n := range 4 {
			go func() {
				tap, err := Attach(inner.path, longest, TapOptions{Name: fmt.Sprintf("race%d", n)})
				if err != nil && !errors.Is(err, ErrInUse) {
					t.Errorf("Attach: %v", err)
				}
				results <- tap
			}()
		}
		var winners []*Tap
		for range 4 {
			if tap := <-results; tap != nil {
				winners = append(winners, tap)
			}
		}
		if len(winners) != 1 {
			t.Fatalf("%d callers got the interface", len(winners))
		}
		if err := winners[0].Detach(); err != nil {
			t.Fatal(err)
		}
	}
	expectShape(t, inner, before)
	if now := openFiles(t); now != open {
		t.Errorf("%d open files, %d before", now, open)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A file of the tap that another process still has open does not keep it.
func TestDetachWhileOpenElsewhere(t *testing.T) {
	inner, _ := newPair(t, longest)
	before := inner.shape(t)
	tap := attach(t, inner, TapOptions{})
	raw, err := tap.Files[0].SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if err := raw.Control(func(f uintptr) { fd, err = unix.Dup(int(f)) }); err != nil || fd < 0 {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := tap.Detach(); err != nil {
		t.Fatal(err)
	}
	expectShape(t, inner, before)
}

func TestCleanup(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *testNS, *Tap){
		"owner lives": func(*testing.T, *testNS, *Tap) {},
		"tap vanished": func(_ *testing.T, _ *testNS, tap *Tap) {
			for _, f := range tap.Files {
				f.Close()
			}
		},
		"empty qdisc": func(t *testing.T, ns *testNS, tap *Tap) {
			if err := tap.Detach(); err != nil {
				t.Fatal(err)
			}
			ns.do(t, func(h *netlink.Handle) error { return h.QdiscAdd(ingress(tap.ifindex)) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inner, _ := newPair(t, longest)
			before := inner.shape(t)
			tap := attach(t, inner, TapOptions{Name: "anything"})
			lose(t, inner, tap)
			for range 2 {
				if err := Cleanup(inner.path); err != nil {
					t.Fatal(err)
				}
			}
			expectShape(t, inner, before)
			if err := tap.Detach(); err != nil {
				t.Errorf("Detach after Cleanup: %v", err)
			}
			expectShape(t, inner, before)
		})
	}
}

func TestCleanupSparesOthers(t *testing.T) {
	inner, _ := newPair(t, longest)
	inner.do(t, func(h *netlink.Handle) error {
		link, err := h.LinkByName(longest)
		if err != nil {
			return err
		}
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		index := link.Attrs().Index
		return errors.Join(h.QdiscAdd(ingress(index)), h.FilterAdd(&netlink.U32{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: ingressParent, Priority: 1, Protocol: unix.ETH_P_ALL},
			Actions:     []netlink.Action{netlink.NewMirredAction(lo.Attrs().Index)},
		}))
	})
	before := inner.shape(t)
	if err := Cleanup(inner.path); err != nil {
		t.Fatal(err)
	}
	expectShape(t, inner, before)
}

func TestGoneInterfaceAndNamespace(t *testing.T) {
	inner, outer := newPair(t, longest)
	tap := attach(t, inner, TapOptions{})
	outer.end() // takes the veth pair with it, some time later
	inner.do(t, func(h *netlink.Handle) error {
		link, err := h.LinkByName(longest)
		if err == nil {
			err = h.LinkDel(link)
		}
		if isNoLink(err) {
			err = nil
		}
		return err
	})
	if err := tap.Detach(); err != nil {
		t.Errorf("Detach without the interface: %v", err)
	}
	expectInUse(t, inner, false)

	inner, _ = newPair(t, longest)
	tap = attach(t, inner, TapOptions{})
	inner.end()
	if err := Cleanup(inner.path); err != nil {
		t.Errorf("Cleanup without the namespace: %v", err)
	}
	if err := tap.Detach(); err != nil {
		t.Errorf("Detach without the namespace: %v", err)
	}
	if _, err := InUse(inner.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("InUse without the namespace: %v", err)
	}
}

// A frame arrives at the other side as it was sent, in both directions.
func TestFrames(t *testing.T) {
	inner, outer := newPair(t, longest)
	tap := attach(t, inner, TapOptions{})
	packet := packetSocket(t, outer, "peer")
	payload := []byte("a frame of an experimental protocol, long enough not to be padded by anybody")
	in := slices.Concat(innerMAC, outerMAC, []byte{0x88, 0xb5}, payload)
	out := slices.Concat(outerMAC, innerMAC, []byte{0x88, 0xb5}, payload)
	if _, err := tap.Files[0].Write(out); err != nil {
		t.Fatal(err)
	}
	expectFrame(t, packet, out)
	if _, err := packet.Write(in); err != nil {
		t.Fatal(err)
	}
	expectFrame(t, tap.Files[0], in)
}

// packetSocket opens an AF_PACKET socket on a device for the experimental EtherType 0x88b5.
func packetSocket(t *testing.T, ns *testNS, dev string) *os.File {
	t.Helper()
	var f *os.File
	ns.do(t, func(h *netlink.Handle) error {
		link, err := h.LinkByName(dev)
		if err != nil {
			return err
		}
		proto := binary.NativeEndian.Uint16([]byte{0x88, 0xb5})
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(proto))
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "packet")
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: link.Attrs().Index})
	})
	t.Cleanup(func() { f.Close() })
	if err := f.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return f
}

// expectFrame reads until the frame comes; the kernel's own (router solicitations) may come before it.
func expectFrame(t *testing.T, f *os.File, want []byte) {
	t.Helper()
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		if err != nil {
			t.Fatalf("frame did not come: %v", err)
		}
		if bytes.Equal(buf[:n], want) {
			return
		}
	}
}
