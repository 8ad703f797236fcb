//go:build privileged

package netns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	vnetHdrLen   = 10 // struct virtio_net_hdr
	needsCsum    = 1  // VIRTIO_NET_HDR_F_NEEDS_CSUM
	ipHeader     = 14 // offset in the frame
	udpHeader    = ipHeader + 20
	udpPort      = 4242
	tunOffloads  = unix.TUN_F_CSUM
	udpCsumField = 6
)

// UDP datagrams of real sockets, whose checksum a veth leaves to the receiver, survive both ways: complete when the tap
// has no virtio-net header or its reader no checksum offload, partial and said to be so otherwise.
func TestChecksums(t *testing.T) {
	for _, c := range []struct {
		name             string
		vnetHdr, offload bool
	}{{"plain", false, false}, {"header", true, false}, {"offload", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			inner, outer := newPair(t, longest)
			tap := attach(t, inner, TapOptions{VnetHdr: c.vnetHdr})
			if c.offload {
				setOffload(t, tap.Files[0])
			}
			conn := udpSocket(t, outer)
			if _, err := conn.WriteTo([]byte("to the guest"), &net.UDPAddr{IP: net.IP{10, 0, 0, 2}, Port: udpPort}); err != nil {
				t.Fatal(err)
			}
			header, frame := readUDP(t, tap.Files[0], c.vnetHdr)
			if partial := len(header) > 0 && header[0]&needsCsum != 0; partial != c.offload {
				t.Errorf("virtio-net header %x: partial checksum is %v", header, partial)
			}
			if sum := udpSum(frame); !c.offload && sum != 0xffff {
				t.Errorf("UDP checksum is wrong: sum %#x", sum)
			}
			if _, err := tap.Files[0].Write(udpFrame(c.vnetHdr, c.offload)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			n, _, err := conn.ReadFrom(buf)
			if err != nil || string(buf[:n]) != "from the guest" {
				t.Errorf("received %q, %v", buf[:n], err)
			}
		})
	}
}

func setOffload(t *testing.T, f *os.File) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ioctlErr error
	if err := raw.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, tunOffloads)
	}); err != nil || ioctlErr != nil {
		t.Fatal(err, ioctlErr)
	}
}

func udpSocket(t *testing.T, ns *testNS) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	err := Do(ns.path, func() (err error) {
		conn, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", fmt.Sprintf("10.0.0.1:%d", udpPort))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// readUDP reads frames until one is UDP over IPv4 to our port.
func readUDP(t *testing.T, f *os.File, vnetHdr bool) (header, frame []byte) {
	t.Helper()
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		if err != nil {
			t.Fatalf("datagram did not come: %v", err)
		}
		frame = buf[:n]
		if vnetHdr {
			header, frame = buf[:vnetHdrLen], buf[vnetHdrLen:n]
		}
		if len(frame) > udpHeader+8 && bytes.Equal(frame[12:14], []byte{8, 0}) && frame[ipHeader+9] == unix.IPPROTO_UDP {
			return header, frame
		}
	}
}

// udpFrame is a datagram from 10.0.0.2 to 10.0.0.1 as a guest sends it: with its checksum, or with the pseudo header's
// in its place when it leaves the rest to the device.
func udpFrame(vnetHdr, partial bool) []byte {
	payload := []byte("from the guest")
	udp := binary.BigEndian.AppendUint16(nil, udpPort)
	udp = binary.BigEndian.AppendUint16(udp, udpPort)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...)
	ip := []byte{0x45, 0, 0, byte(20 + len(udp)), 0, 1, 0, 0, 64, unix.IPPROTO_UDP, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1}
	binary.BigEndian.PutUint16(ip[10:], ^onesSum(0, ip))
	frame := slices.Concat(outerMAC, innerMAC, []byte{8, 0}, ip, udp)
	sum := ^udpSum(frame)
	if partial {
		sum = pseudoSum(ip, len(udp))
	}
	binary.BigEndian.PutUint16(frame[udpHeader+udpCsumField:], sum)
	if !vnetHdr {
		return frame
	}
	header := make([]byte, vnetHdrLen)
	if partial {
		header[0] = needsCsum
		binary.LittleEndian.PutUint16(header[6:], udpHeader)
		binary.LittleEndian.PutUint16(header[8:], udpCsumField)
	}
	return append(header, frame...)
}

// udpSum is 0xffff for a datagram with a right checksum (RFC 768).
func udpSum(frame []byte) uint16 {
	length := int(binary.BigEndian.Uint16(frame[udpHeader+4:]))
	return onesSum(pseudoSum(frame[ipHeader:], length), frame[udpHeader:udpHeader+length])
}

func pseudoSum(ip []byte, length int) uint16 {
	return onesSum(uint16(unix.IPPROTO_UDP+length), ip[12:20])
}

// onesSum is the ones' complement sum of RFC 1071.
func onesSum(start uint16, data []byte) uint16 {
	sum := uint32(start)
	for i, b := range data {
		sum += uint32(b) << (8 * (1 - uint(i)%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
