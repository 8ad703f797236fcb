package netns

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
)

// UDPSocketAt says whether a process has a UDP socket bound to the IPv4 address, at any port, in the calling process's
// network namespace.
func UDPSocketAt(address netip.Addr) (bool, error) {
	f, err := os.Open("/proc/self/net/udp")
	if err != nil {
		return false, err
	}
	defer f.Close()
	return hasLocalAddress(f, address)
}

// hasLocalAddress looks for the address in the second column ("0B00007F:CC65") of the text of /proc/net/udp, proc(5).
func hasLocalAddress(r io.Reader, address netip.Addr) (bool, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		columns := strings.Fields(lines.Text())
		if len(columns) < 2 {
			continue
		}
		host, _, ok := strings.Cut(columns[1], ":")
		if !ok {
			continue // the heading
		}
		word, err := hex.DecodeString(host)
		if err != nil || len(word) != 4 {
			return false, fmt.Errorf("/proc/net/udp: local address %q: want 8 hexadecimal digits", columns[1])
		}
		// The digits are those of the address read as a number by this machine.
		ip := [4]byte{}
		binary.NativeEndian.PutUint32(ip[:], binary.BigEndian.Uint32(word))
		if netip.AddrFrom4(ip) == address {
			return true, nil
		}
	}
	return false, lines.Err()
}
