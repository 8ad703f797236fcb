package dnsrelay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// order is that of the guest, which is an x86 machine.
var order = binary.LittleEndian

// Offsets in struct bpf_sock_addr of linux/bpf.h. Addresses and port are in network byte order.
const (
	userIP4  = 4
	userIP6  = 8
	userPort = 24
)

// code is the program. For another address, another port, or another network namespace than the guest's first (which a
// container engine in the container makes) it changes nothing.
func (r rewrite) code(address netip.Addr) ([]byte, error) {
	const leave = "leave"
	context, port := asm.R6, asm.R2
	p := asm.Instructions{
		asm.Mov.Reg(context, asm.R1),
		asm.FnGetNetnsCookie.Call(),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.Mov.Imm(asm.R1, 0), // the first namespace's
		asm.FnGetNetnsCookie.Call(),
		asm.JNE.Reg(asm.R0, asm.R7, leave),
	}
	offset, ip := int16(userIP4), address.AsSlice()
	if r.v6 {
		mapped := address.As16()
		offset, ip = userIP6, mapped[:]
	}
	for i := 0; i < len(ip); i += 4 {
		p = append(p,
			asm.LoadMem(asm.R2, context, offset+int16(i), asm.Word),
			asm.JNE.Imm32(asm.R2, int32(order.Uint32(ip[i:])), leave))
	}
	p = append(p,
		asm.LoadMem(port, context, userPort, asm.Word),
		asm.JNE.Imm32(port, networkPort(r.from), leave),
		asm.Mov.Imm(port, networkPort(r.to)),
		asm.StoreMem(context, userPort, port, asm.Word),
		asm.Mov.Imm(asm.R0, 1).WithSymbol(leave), // let the call go on
		asm.Return())
	var code bytes.Buffer
	if err := p.Marshal(&code, order); err != nil {
		return nil, fmt.Errorf("assemble: %w", err)
	}
	return code.Bytes(), nil
}

// networkPort is a port in network byte order as the guest's processor reads it.
func networkPort(port uint16) int32 {
	return int32(order.Uint16(binary.BigEndian.AppendUint16(nil, port)))
}

// verifierLog is how much of the verifier's words is kept when it refuses a program, in bytes.
const verifierLog = 16 << 10

// loadProgram loads a program that may only be attached as attach says. The caller closes the descriptor.
func loadProgram(code []byte, attach uint32) (int, error) {
	license, log := []byte("GPL\x00"), make([]byte, verifierLog)
	// The first fields of union bpf_attr as BPF_PROG_LOAD reads it.
	attr := struct {
		kind, instructions    uint32
		code, license         uint64
		logLevel, logSize     uint32
		log                   uint64
		kernelVersion, flags  uint32
		name                  [16]byte
		ifindex, expectAttach uint32
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, instructions: uint32(len(code) / asm.InstructionSize),
		code: address(code), license: address(license), logLevel: 1, logSize: uint32(len(log)), log: address(log),
		expectAttach: attach,
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	runtime.KeepAlive(log)
	if errno != 0 {
		said, _, _ := bytes.Cut(log, []byte{0})
		return -1, fmt.Errorf("load: %w: %s", errno, bytes.TrimSpace(said))
	}
	return int(fd), nil
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// attachCommand is BPF_PROG_ATTACH or BPF_PROG_DETACH of a program at a cgroup.
func attachCommand(command uintptr, cgroup *os.File, fd int, attach, flags uint32) error {
	attr := struct{ target, program, attach, flags uint32 }{uint32(cgroup.Fd()), uint32(fd), attach, flags}
	_, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return os.NewSyscallError("bpf", errno)
	}
	return nil
}
