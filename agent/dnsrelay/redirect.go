package dnsrelay

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where the programs are attached: every process of the guest is below it.
const cgroupRoot = "/sys/fs/cgroup"

// rewrite is one program: it turns a port of the address into another at one place of the kernel.
type rewrite struct {
	attach   uint32 // BPF_CGROUP_*
	v6       bool   // the address is an IPv6 one: the program looks for the mapped form
	from, to uint16
}

// rewrites are the places where a socket's peer passes: towards the relay, and back so that the process sees the peer
// that it asked for. A datagram to a mapped address is sent as an IPv4 one, so there is no IPv6 sendmsg.
func rewrites(port, relay uint16) []rewrite {
	return []rewrite{
		{unix.BPF_CGROUP_INET4_CONNECT, false, port, relay},
		{unix.BPF_CGROUP_UDP4_SENDMSG, false, port, relay},
		{unix.BPF_CGROUP_UDP4_RECVMSG, false, relay, port},
		{unix.BPF_CGROUP_INET4_GETPEERNAME, false, relay, port},
		{unix.BPF_CGROUP_INET6_CONNECT, true, port, relay},
		{unix.BPF_CGROUP_UDP6_RECVMSG, true, relay, port},
		{unix.BPF_CGROUP_INET6_GETPEERNAME, true, relay, port},
	}
}

// attachment is what redirect has attached.
type attachment struct {
	cgroup   *os.File
	programs []program
}

type program struct {
	attach uint32
	fd     int
}

// redirect lets what processes in the guest's own network namespace send to port of address arrive at the port relay.
// Closing takes it back.
func redirect(address netip.Addr, port, relay uint16) (io.Closer, error) {
	dir, err := os.Open(cgroupRoot)
	if err != nil {
		return nil, err
	}
	a := &attachment{cgroup: dir}
	for _, r := range rewrites(port, relay) {
		if err := a.add(r, address); err != nil {
			err = fmt.Errorf("attach a BPF program of type %d to the guest's cgroups: %w", r.attach, err)
			return nil, errors.Join(err, a.Close())
		}
	}
	return a, nil
}

func (a *attachment) add(r rewrite, address netip.Addr) error {
	code, err := r.code(address)
	if err != nil {
		return err
	}
	fd, err := loadProgram(code, r.attach)
	if err != nil {
		return err
	}
	if err := attachCommand(unix.BPF_PROG_ATTACH, a.cgroup, fd, r.attach, unix.BPF_F_ALLOW_MULTI); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	a.programs = append(a.programs, program{r.attach, fd})
	return nil
}

// Close detaches the programs.
func (a *attachment) Close() error {
	var errs []error
	for _, p := range a.programs {
		errs = append(errs, attachCommand(unix.BPF_PROG_DETACH, a.cgroup, p.fd, p.attach, 0), unix.Close(p.fd))
	}
	return errors.Join(append(errs, a.cgroup.Close())...)
}
