package agent

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDialLocal: a service on one loopback is reached through either, and a missing one is refused.
func TestDialLocal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	for _, v6 := range []bool{false, true} {
		c, err := dialLocal(t.Context(), port, v6)
		if err != nil {
			t.Fatalf("IPv6 %v: %v", v6, err)
		}
		c.Close()
	}
	l.Close()
	if _, err := dialLocal(t.Context(), port, false); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("nothing listens: %v", err)
	}
}
