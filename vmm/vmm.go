// Package vmm runs QEMU: it turns a description of a virtual machine into a command line, starts QEMU confined and
// speaks QMP with it. It also finds and starts virtiofsd. It knows nothing of containers.
package vmm

import "os"

// Config describes a virtual machine. The files in it stay the caller's; Start lends them to QEMU.
type Config struct {
	Name      string // shown in process lists, free text
	Accel     Accel
	TBSizeMiB int // bound of TCG's translation cache in MiB; 0: QEMU's own
	CPUs      int // present at boot
	MaxCPUs   int // upper bound for hot-plug; 0: CPUs
	MemoryMiB int

	// SharedMemory backs the guest's memory with a shared memfd, which vhost-user (virtiofs) needs.
	SharedMemory bool
	// MemoryFile backs it with this file instead, as QEMU sees it, shared as well; see Jail.Memory.
	MemoryFile string
	// Incoming makes QEMU wait for the state that QMP.Load gives it, instead of booting.
	Incoming bool

	Kernel  string // path of a vmlinux with a PVH note, or of a bzImage
	Initrd  string // path; empty: none
	Cmdline string // kernel parameters

	HotplugPorts int // PCI Express root ports, see PortID; those that no NIC sits on are free

	QMP     *os.File // listening Unix stream socket; nil: no QMP
	Console *os.File // connected stream socket of the first serial port; nil: no serial port
	Agent   AgentChannel
	Share   *Share // nil: none
	NICs    []NIC
	Disks   []Disk
}

// AgentChannel is how the guest's agent is reached: a virtio serial port or vsock. The zero value is no channel.
type AgentChannel struct {
	Serial    *os.File // connected stream socket
	Listening bool     // Serial listens instead, and nobody connects: for a template
	PortName  string   // name of the virtio serial port, at most 31 bytes without commas

	VsockCID   uint32   // at least 3, vsock(7)
	VhostVsock *os.File // open /dev/vhost-vsock
}

// Share is one file system that the guest can mount by its tag.
type Share struct {
	Type string // "virtiofs" or "9p"
	Tag  string // at most 36 bytes for virtiofs, 31 for 9p
	Path string // virtiofs: socket of virtiofsd; 9p: directory. As QEMU sees it, that is, inside its jail
}

// The types of a share.
const (
	ShareVirtiofs = "virtiofs"
	Share9P       = "9p"
)

// NIC is a virtio network device on a tap.
type NIC struct {
	ID       string     // unique among devices
	MAC      string     // six bytes in hexadecimal with colons
	MTU      int        // told to the guest; 0: not told
	TapFDs   []*os.File // one per queue
	VhostFDs []*os.File // open /dev/vhost-net, one per queue; empty: QEMU moves the packets
	Queues   int        // 0: as many as TapFDs
	Port     string     // at start: the hot-plug port that it sits on and can be unplugged from; empty: none
}

// Disk is a virtio block device on a raw file or block device. QEMU does not lock it: as with any other process of the
// host, who shares one between machines has to know what they do.
type Disk struct {
	ID       string   // unique among devices
	File     *os.File // opened O_RDONLY if ReadOnly, O_RDWR otherwise; takes the place of Path
	Path     string   // as QEMU sees it, that is, inside its jail
	Block    bool     // the file is a block device
	ReadOnly bool
	Format   string // "raw"; empty means the same
	Serial   string // at most 20 bytes; empty: none
	// Bytes of a logical and a physical block; 0: 512.
	LogicalBlock, PhysicalBlock int
}
