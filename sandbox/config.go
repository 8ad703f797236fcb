// Package sandbox is one virtual machine with its network, its share and its agent as one unit. Boot makes all of it or
// nothing; Stop takes all of it down. It runs in the monitor process, whose mount namespace is the sandbox's own and
// whose network namespace is the container's.
package sandbox

import (
	"time"

	"github.com/runvm/runvm/vmm"
)

// Config is what a sandbox is made from: plain data that crosses from create to the monitor as JSON.
type Config struct {
	ID       string
	Hostname string
	Dirs     Dirs

	QEMU          string // path of the program
	Virtiofsd     string // path of the program; empty: share through 9p
	VirtiofsdRust bool   // the Rust implementation, which has other options than the C one
	Cache         string // virtiofsd's cache policy: "always", "auto", "never"
	CacheTimeout  int    // seconds for which the guest may trust cached names and attributes

	Kernel, Initrd string
	Parameters     string // appended to the kernel command line
	Accel          vmm.Accel
	TBSizeMiB      int
	CPUs           int
	MemoryMiB      int
	HotplugPorts   int
	Vsock          bool // the agent is reached over vsock, otherwise over a virtio-serial port
	BootTimeout    time.Duration
	Template       string // directory of a template of this very machine to clone; empty: boot

	NetNS string // the namespace to take interfaces from: a path that stays valid while the sandbox lives
}

// Dirs are the directories of a sandbox on the host; all exist. A template needs Jail, VM and QMP only.
type Dirs struct {
	Shared string // empty; the share's tree is mounted here in the monitor's mount namespace
	Jail   string // empty; QEMU's root is mounted here in QEMU's mount namespace
	VM     string // holds the sockets between QEMU, virtiofsd and the monitor
	Share  string // name of virtiofsd's socket in VM
	QMP    string // name of QEMU's socket in VM
}

// Mount is one host directory or file that the guest shall see, at <shared>/<container's directory>/<Place>.
type Mount struct {
	Place             string // relative: "rootfs", "mounts/0"
	Source            string // absolute path on the host
	Dir               bool
	Recursive         bool // with what is mounted below
	ReadOnly          bool // enforced on the host
	RecursiveReadOnly bool
}
