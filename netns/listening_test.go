package netns

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

const udpTable = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
14483: 0B00007F:CC65 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 134612 2 00000000dfc981ae 0
14484: 0100007F:0035 0B00007F:0000 07 00000000:00000000 00:00000000 00000000     0        0 134612 2 00000000dfc981ae 0
`

// The table is that of a little-endian machine, as the tests run on.
func TestHasLocalAddress(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.11": true, "127.0.0.1": true, "11.0.0.127": false, "0.0.0.0": false} {
		got, err := hasLocalAddress(strings.NewReader(udpTable), netip.MustParseAddr(address))
		if got != want || err != nil {
			t.Errorf("%s: %v, %v", address, got, err)
		}
	}
	if got, err := hasLocalAddress(strings.NewReader("0: XYZ:0035\n"), netip.MustParseAddr("127.0.0.1")); err == nil {
		t.Errorf("garbage: %v", got)
	}
}

func TestUDPSocketAt(t *testing.T) {
	address := netip.MustParseAddr("127.77.66.55")
	if got, err := UDPSocketAt(address); got || err != nil {
		t.Fatalf("before: %v, %v", got, err)
	}
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := UDPSocketAt(address); !got || err != nil {
		t.Errorf("with a socket: %v, %v", got, err)
	}
}
