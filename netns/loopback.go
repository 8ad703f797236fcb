package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Loopback takes every TCP connection that a process in a network namespace makes to 127.0.0.1 or ::1, whatever the port,
// and whether or not something listens there. It is a BPF program that chooses the listening socket (sk_lookup, Linux
// 5.9): the namespace's firewall stays as it is, and nothing is left when its descriptors are closed.
type Loopback struct {
	listeners []*net.TCPListener
	closers   []func() error
	accepting sync.WaitGroup
	closed    chan struct{}
}

// Slots of the program's map of sockets.
const (
	slotIPv4 = iota
	slotIPv6
	slots
)

// ListenLoopback begins to take the connections in the namespace at path.
func ListenLoopback(path string) (*Loopback, error) {
	l := &Loopback{closed: make(chan struct{})}
	if err := Do(path, l.listen); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on the loopback of %s: %w", path, err), l.Close())
	}
	return l, nil
}

// listen runs inside the namespace.
func (l *Loopback) listen() error {
	sockets, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.SockMap, KeySize: 4, ValueSize: 8, MaxEntries: slots})
	if err != nil {
		return fmt.Errorf("make a map of sockets: %w", err)
	}
	l.closers = append(l.closers, sockets.Close)
	if err := l.add(sockets, slotIPv4, "tcp4", "127.0.0.1:0"); err != nil {
		return err
	}
	// A kernel without IPv6 has no such sockets.
	if err := l.add(sockets, slotIPv6, "tcp6", "[::1]:0"); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return err
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, License: "GPL", Instructions: loopbackProgram(sockets.FD()),
	})
	if err != nil {
		return fmt.Errorf("load the BPF program: %w", err)
	}
	l.closers = append(l.closers, program.Close)
	ns, err := os.Open(threadNS)
	if err != nil {
		return err
	}
	defer ns.Close()
	attached, err := link.AttachNetNs(int(ns.Fd()), program)
	if err != nil {
		return fmt.Errorf("attach the BPF program: %w", err)
	}
	l.closers = append(l.closers, attached.Close)
	return nil
}

// add puts a listening socket into the map. A socket of MPTCP, which Go would make, does not fit in.
func (l *Loopback) add(sockets *ebpf.Map, slot uint32, network, address string) error {
	config := net.ListenConfig{Control: freebind}
	config.SetMultipathTCP(false)
	listener, err := config.Listen(context.Background(), network, address)
	if err != nil {
		return err
	}
	tcp := listener.(*net.TCPListener)
	l.listeners = append(l.listeners, tcp)
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var putErr error
	err = raw.Control(func(fd uintptr) { putErr = sockets.Put(slot, uint64(fd)) })
	if err = errors.Join(err, putErr); err != nil {
		return fmt.Errorf("put the socket into the map: %w", err)
	}
	return nil
}

// freebind lets a socket have an address that the namespace has not yet: engines bring the loopback up when they like.
func freebind(network, _ string, c syscall.RawConn) error {
	level, option := unix.SOL_IP, unix.IP_FREEBIND
	if network == "tcp6" {
		level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
	}
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }), err)
}

// Offsets in struct bpf_sk_lookup of linux/bpf.h. Addresses are in network byte order.
const (
	lookupFamily   = 8
	lookupProtocol = 12
	lookupLocalIP4 = 40
	lookupLocalIP6 = 44
)

// loopbackProgram passes each connection to the socket of its family's slot, and all else by.
func loopbackProgram(sockets int) asm.Instructions {
	const (
		pass, v6, find = "pass", "v6", "find"
		lookup, word   = asm.R6, asm.R2
	)
	load := func(offset int16) asm.Instruction { return asm.LoadMem(word, lookup, offset, asm.Word) }
	p := asm.Instructions{
		asm.Mov.Reg(lookup, asm.R1),
		load(lookupProtocol), asm.JNE.Imm(word, unix.IPPROTO_TCP, pass),
		load(lookupFamily), asm.JEq.Imm(word, unix.AF_INET6, v6), asm.JNE.Imm(word, unix.AF_INET, pass),
		load(lookupLocalIP4), asm.JNE.Imm32(word, networkWord(127, 0, 0, 1), pass),
		asm.StoreImm(asm.RFP, -4, slotIPv4, asm.Word), asm.Ja.Label(find),
		load(lookupLocalIP6).WithSymbol(v6), asm.JNE.Imm(word, 0, pass),
	}
	for _, offset := range []int16{4, 8} {
		p = append(p, load(lookupLocalIP6+offset), asm.JNE.Imm(word, 0, pass))
	}
	return append(p,
		load(lookupLocalIP6+12), asm.JNE.Imm32(word, networkWord(0, 0, 0, 1), pass),
		asm.StoreImm(asm.RFP, -4, slotIPv6, asm.Word),
		asm.LoadMapPtr(asm.R1, sockets).WithSymbol(find),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, pass),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.Mov.Reg(asm.R1, lookup), asm.Mov.Reg(asm.R2, asm.R7), asm.Mov.Imm(asm.R3, 0), asm.FnSkAssign.Call(),
		asm.Mov.Reg(asm.R1, asm.R7), asm.FnSkRelease.Call(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol(pass), // SK_PASS
		asm.Return(),
	)
}

// networkWord is four bytes of the network as the processor reads them.
func networkWord(a, b, c, d byte) int32 { return int32(binary.NativeEndian.Uint32([]byte{a, b, c, d})) }

// maxReflected bounds the connections that are served at a time; more wait to be accepted.
const maxReflected = 256

// Serve accepts until Close. Each connection's local address is the one that was dialled; handle runs in a goroutine of its
// own and closes it.
func (l *Loopback) Serve(handle func(*net.TCPConn)) {
	places := make(chan struct{}, maxReflected)
	for _, listener := range l.listeners {
		l.accepting.Go(func() {
			for l.take(places) {
				c, err := listener.AcceptTCP()
				if err != nil && !errors.Is(err, unix.ECONNABORTED) {
					return
				}
				go func() {
					defer func() { <-places }()
					if err == nil {
						handle(c)
					}
				}()
			}
		})
	}
}

// take waits for a place, in vain once the Loopback is closed.
func (l *Loopback) take(places chan<- struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-l.closed:
		return false
	}
}

// Close lets the namespace have its connections again. Those that were accepted live on. To be called once.
func (l *Loopback) Close() error {
	close(l.closed)
	var errs []error
	for _, listener := range l.listeners {
		errs = append(errs, listener.Close())
	}
	for _, c := range slices.Backward(l.closers) {
		errs = append(errs, c())
	}
	l.accepting.Wait()
	return errors.Join(errs...)
}
