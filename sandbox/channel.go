package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
	"unsafe"

	"github.com/hashicorp/yamux"
	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/vmm"
)

// channel is the way to the agent: first its guest end goes to QEMU, then wait learns that the agent serves, then dial
// opens connections.
type channel interface {
	// guestEnd is what QEMU gets, and the kernel parameters that tell the agent.
	guestEnd() (vmm.AgentChannel, []string)
	// started gives up what only QEMU needs.
	started()
	// wait returns when the agent has said that it serves.
	wait(ctx context.Context) error
	dial(ctx context.Context) (net.Conn, error)
	close() error
}

// serialChannel multiplexes one virtio-serial port with yamux; the guest is yamux's server.
type serialChannel struct {
	conn    net.Conn
	guest   *os.File
	session *yamux.Session
}

func newSerialChannel() (*serialChannel, error) {
	conn, guest, err := socketpair("agent")
	if err != nil {
		return nil, err
	}
	return &serialChannel{conn: conn, guest: guest}, nil
}

func (s *serialChannel) guestEnd() (vmm.AgentChannel, []string) {
	return vmm.AgentChannel{Serial: s.guest, PortName: agentproto.SerialPortName}, serialParameters()
}

func serialParameters() []string { return []string{"runvm.transport=serial"} }

func (s *serialChannel) started() { _ = s.guest.Close() }

func (s *serialChannel) wait(ctx context.Context) error {
	if err := readReady(ctx, s.conn); err != nil {
		return err
	}
	c := yamux.DefaultConfig()
	// A paused or overloaded guest answers nothing for as long as it likes: that is no reason to drop it.
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = 24 * time.Hour
	c.StreamOpenTimeout = 0
	c.MaxStreamWindowSize = 1 << 20
	c.LogOutput = io.Discard
	session, err := yamux.Client(s.conn, c)
	if err != nil {
		return fmt.Errorf("multiplex the agent's port: %w", err)
	}
	s.session = session
	return nil
}

func (s *serialChannel) dial(context.Context) (net.Conn, error) { return s.session.Open() }

func (s *serialChannel) close() error {
	if s.session != nil {
		_ = s.session.Close()
	}
	_ = s.guest.Close()
	if err := s.conn.Close(); !errors.Is(err, net.ErrClosed) { // the session's Close is the connection's
		return err
	}
	return nil
}

// vsockChannel reaches the agent through vhost-vsock.
type vsockChannel struct {
	cid      uint32
	vhost    *os.File
	listener *vsock.Listener
}

// vhostVsockSetGuestCID is VHOST_VSOCK_SET_GUEST_CID of linux/vhost.h.
const vhostVsockSetGuestCID = 0x4008af60

// newVsockChannel reserves a context id: the kernel refuses one that is taken.
func newVsockChannel() (*vsockChannel, error) {
	f, err := os.OpenFile(vsockDevice, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", vsockDevice, err)
	}
	cid, err := reserveCID(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Port 0 lets the kernel choose.
	l, err := vsock.ListenContextID(vsock.Host, 0, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on vsock: %w", err), f.Close())
	}
	return &vsockChannel{cid: cid, vhost: f, listener: l}, nil
}

const vsockDevice = "/dev/vhost-vsock"

// reserveCID draws context ids until the kernel takes one. Ids below 3 have a meaning of their own.
func reserveCID(f *os.File) (uint32, error) {
	for range 64 {
		var b [4]byte
		if _, err := rand.Read(b[:]); err != nil {
			return 0, err
		}
		cid := binary.NativeEndian.Uint32(b[:])&0x7fffffff | 0x100
		id := uint64(cid)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), vhostVsockSetGuestCID, uintptr(unsafe.Pointer(&id)))
		switch errno {
		case 0:
			return cid, nil
		case unix.EADDRINUSE:
			continue
		default:
			return 0, fmt.Errorf("set the guest's vsock context id: %w", errno)
		}
	}
	return 0, errors.New("no free vsock context id after 64 tries")
}

func (v *vsockChannel) guestEnd() (vmm.AgentChannel, []string) {
	port := v.listener.Addr().(*vsock.Addr).Port
	return vmm.AgentChannel{VsockCID: v.cid, VhostVsock: v.vhost},
		[]string{"runvm.transport=vsock", fmt.Sprintf("runvm.port=%d", port)}
}

func (v *vsockChannel) started() { _ = v.vhost.Close() }

func (v *vsockChannel) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = v.listener.Close() })
	defer stop()
	for {
		conn, err := v.listener.Accept()
		if err != nil {
			return errors.Join(ctx.Err(), fmt.Errorf("wait for the agent: %w", err))
		}
		from, ok := conn.RemoteAddr().(*vsock.Addr)
		if ok && from.ContextID == v.cid {
			err := readReady(ctx, conn)
			return errors.Join(err, conn.Close())
		}
		// Another guest of this host is not ours to listen to.
		_ = conn.Close()
	}
}

func (v *vsockChannel) dial(context.Context) (net.Conn, error) {
	return vsock.Dial(v.cid, agentproto.VsockPort, nil)
}

func (v *vsockChannel) close() error {
	_ = v.vhost.Close()
	return v.listener.Close()
}

// readReady reads the agent's one line, byte by byte, since what follows belongs to yamux.
func readReady(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line := make([]byte, len(agentproto.ReadyLine))
	if _, err := io.ReadFull(conn, line); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the agent: %w", context.Cause(ctx))
		}
		return fmt.Errorf("wait for the agent: %w", err)
	}
	if string(line) != agentproto.ReadyLine {
		return fmt.Errorf("the guest's first words are %q, want %q: the guest image does not fit this runvm", line, agentproto.ReadyLine)
	}
	return nil
}

// socketpair returns a connection and the file of its other end.
func socketpair(name string) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	near, far := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	conn, err := net.FileConn(near)
	_ = near.Close()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("socketpair: %w", err), far.Close())
	}
	return conn, far, nil
}
