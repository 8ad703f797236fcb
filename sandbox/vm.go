package sandbox

import (
	"os"
	"strings"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/vmm"
)

// vmConfig puts the virtual machine together.
func (s *Sandbox) vmConfig(qmp, console *os.File) vmm.Config {
	c := s.config
	agent, agentParameters := s.channel.guestEnd()
	vc := vmm.Config{
		Name: c.ID, Accel: c.Accel, TBSizeMiB: c.TBSizeMiB,
		CPUs: c.CPUs, MaxCPUs: c.CPUs, MemoryMiB: c.MemoryMiB, SharedMemory: c.Virtiofsd != "",
		Kernel: c.Kernel, Initrd: c.Initrd, HotplugPorts: s.ports,
		QMP: qmp, Console: console, Agent: agent,
		Cmdline: cmdline(c, agentParameters), Share: s.vmShare(),
	}
	for _, n := range s.nics {
		vc.NICs = append(vc.NICs, n.device())
	}
	return vc
}

// vmShare is the share as QEMU sees it.
func (s *Sandbox) vmShare() *vmm.Share {
	if s.config.Virtiofsd != "" {
		return &vmm.Share{Type: "virtiofs", Tag: shareTag, Path: jailVM + "/" + s.config.Dirs.Share}
	}
	return &vmm.Share{Type: "9p", Tag: shareTag, Path: jailShared}
}

// cmdline is the guest kernel's command line.
func cmdline(c Config, agentParameters []string) string {
	groups := []string{"serial", "virtiofs", "net", "rng", "balloon"}
	if c.Virtiofsd == "" {
		groups[1] = "9p"
	}
	if c.Vsock {
		groups = append(groups, "vsock")
	}
	words := append(vmm.KernelParameters(c.Accel), "runvm.modules="+strings.Join(groups, ","))
	words = append(words, agentParameters...)
	if c.Parameters != "" {
		words = append(words, c.Parameters)
	}
	return strings.Join(words, " ")
}

// share tells the agent what to mount.
func (s *Sandbox) share() *agentproto.Share {
	if s.config.Virtiofsd != "" {
		share := &agentproto.Share{Type: "virtiofs", Tag: shareTag}
		if s.maxFiles < enoughFiles {
			share.MaxInodes = s.maxFiles * 3 / 4 // the daemon has other files open, and looks up while the guest drops
		}
		return share
	}
	return &agentproto.Share{
		Type: "9p", Tag: shareTag,
		Options: []string{"trans=virtio", "version=9p2000.L", "msize=512000", "cache=mmap", "posixacl"},
	}
}

// Where QEMU sees, in its jail, what it opens by path.
const (
	jailVM     = "/vm"
	jailShared = "/shared"
)

// jail is what QEMU may touch.
func (s *Sandbox) jail() vmm.Jail {
	c := s.config
	j := vmm.Jail{
		UID: qemuID(), GID: qemuID(), RootDir: c.Dirs.Jail,
		Binds:   []vmm.Bind{{Source: c.Dirs.VM, Target: jailVM, ReadOnly: true}},
		Devices: []string{"/dev/null", "/dev/urandom"},
	}
	if c.Accel == vmm.KVM {
		j.Devices = append(j.Devices, "/dev/kvm")
	}
	if c.Virtiofsd == "" {
		s.log("files are shared through 9p, with a QEMU that keeps root's file capabilities: " +
			"install virtiofsd, and leave share.type alone, to do better")
		j.KeepRoot = true
		j.Binds = append(j.Binds, vmm.Bind{Source: c.Dirs.Shared, Target: jailShared, Slave: true})
	}
	return j
}
