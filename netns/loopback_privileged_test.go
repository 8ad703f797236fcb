//go:build privileged

package netns

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestLoopback: connections to any port of the loopback arrive, also when it came up later, and others do not.
func TestLoopback(t *testing.T) {
	ns := newNS(t)
	before := openFiles(t)
	l, err := ListenLoopback(ns.path)
	if err != nil {
		t.Fatal(err)
	}
	dialled := make(chan string, 1)
	l.Serve(func(c *net.TCPConn) {
		defer c.Close()
		dialled <- c.LocalAddr().String()
	})
	ns.do(t, func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		address, err := netlink.ParseAddr("10.1.2.3/32")
		if err != nil {
			return err
		}
		return errors.Join(h.LinkSetUp(lo), h.AddrAdd(lo, address))
	})
	dial := func(address string) error {
		return Do(ns.path, func() error {
			c, err := net.Dial("tcp", address)
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	for _, address := range []string{"127.0.0.1:80", "127.0.0.1:65535", "[::1]:8080"} {
		if err := dial(address); err != nil {
			t.Error(err)
		} else if got := <-dialled; got != address {
			t.Errorf("dialled %s, which arrived as %s", address, got)
		}
	}
	for _, address := range []string{"127.0.0.11:53", "10.1.2.3:80"} {
		if err := dial(address); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v", address, err)
		}
	}
	// Nothing else is taken, such as what the host itself listens for.
	own, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	c, err := net.Dial("tcp", own.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	own.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := dial("127.0.0.1:80"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after Close: %v", err)
	}
	if len(dialled) > 0 {
		t.Error(fmt.Sprint("another connection arrived: ", <-dialled))
	}
	if now := openFiles(t); now != before {
		t.Errorf("%d open files, %d before", now, before)
	}
}
