package vmm

import (
	"errors"
	"fmt"
	"os"
	"strconv"
)

// ErrInvalidConfig marks a configuration that no QEMU command line can express.
var ErrInvalidConfig = errors.New("invalid virtual machine configuration")

// firstFD is the number of the first inherited file, as in exec.Cmd.ExtraFiles.
const firstFD = 3

// commandLine collects QEMU's arguments and the files they refer to.
type commandLine struct {
	args  []string
	files []*os.File
}

func (c *commandLine) add(args ...string) { c.args = append(c.args, args...) }

// inherit adds a file and returns the number it has in QEMU.
func (c *commandLine) inherit(f *os.File) string {
	c.files = append(c.files, f)
	return strconv.Itoa(firstFD + len(c.files) - 1)
}

// Command returns QEMU's arguments, without the program's name, and the files to inherit: the first is descriptor 3. It
// touches nothing. Errors wrap ErrInvalidConfig.
func (c Config) Command() (args []string, files []*os.File, err error) {
	if err := c.validate(); err != nil {
		return nil, nil, err
	}
	var line commandLine
	c.addMachine(&line)
	c.addBoot(&line)
	c.addChannels(&line)
	c.addBaseDevices(&line)
	if c.Share != nil {
		c.addShare(&line)
	}
	// Before the NICs, which may sit on them, and after all else, whose addresses shall not depend on their number.
	for i := range c.HotplugPorts {
		line.add("-device", options("pcie-root-port", "id", PortID(i), "chassis", strconv.Itoa(i+1)))
	}
	for _, n := range c.NICs {
		n.addTo(&line)
	}
	for i, d := range c.Disks {
		d.addTo(&line, i)
	}
	return line.args, line.files, nil
}

// PortID names the hot-plug port with the given number, from 0 to Config.HotplugPorts-1.
func PortID(i int) string { return "rp" + strconv.Itoa(i) }

// addMachine describes processor, memory and chip set. Devices that no container's guest needs cost boot time and
// widen what faces the guest, so they are off.
func (c Config) addMachine(line *commandLine) {
	line.add("-name", options("", "guest", c.Name, "debug-threads", "on"))
	line.add("-machine", options("q35", "memory-backend", "ram0", "graphics", "off", "hpet", "off", "i8042", "off",
		"sata", "off", "smbus", "off", "smm", "off", "usb", "off", "vmport", "off",
		"dump-guest-core", "off", "mem-merge", "off"))
	if c.Accel == KVM {
		line.add("-accel", options("kvm", "kernel-irqchip", "on"), "-cpu", "host")
	} else {
		line.add("-accel", options("tcg", "thread", "multi", "tb-size", number(c.TBSizeMiB)),
			// A fifth level of page tables would cost time at every miss of the TLB. A processor that says it copies
			// bytes fast makes Linux copy and clear byte by byte, which TCG does one at a time instead of eight.
			"-cpu", "max,la57=off,erms=off")
	}
	maxCPUs := strconv.Itoa(max(c.CPUs, c.MaxCPUs))
	line.add("-smp", options("", "cpus", strconv.Itoa(c.CPUs), "sockets", "1", "cores", maxCPUs, "threads", "1",
		"maxcpus", maxCPUs))
	size := strconv.Itoa(c.MemoryMiB) + "M"
	line.add("-m", options("", "size", size))
	switch {
	case c.MemoryFile != "":
		line.add("-object", options("memory-backend-file", "id", "ram0", "size", size, "mem-path", c.MemoryFile,
			"share", "on"))
	case c.SharedMemory:
		line.add("-object", options("memory-backend-memfd", "id", "ram0", "size", size, "share", "on"))
	default:
		line.add("-object", options("memory-backend-ram", "id", "ram0", "size", size))
	}
	line.add("-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-rtc", "base=utc")
}

// addBoot names the kernel. These three values are whole arguments, in which a comma is a comma.
func (c Config) addBoot(line *commandLine) {
	line.add("-kernel", c.Kernel)
	if c.Initrd != "" {
		line.add("-initrd", c.Initrd)
	}
	if c.Cmdline != "" {
		line.add("-append", c.Cmdline)
	}
	if c.Incoming {
		line.add("-incoming", "defer")
	}
}

// agentPort is the id of the agent's port, which VSERPORT_CHANGE reports.
const agentPort = "agent0"

// addChannels connects QMP, the serial console and the agent.
func (c Config) addChannels(line *commandLine) {
	if c.QMP != nil {
		line.add("-chardev", options("socket", "id", "qmp", "fd", line.inherit(c.QMP), "server", "on", "wait", "off"),
			"-mon", options("", "chardev", "qmp", "mode", "control"))
	}
	if c.Console != nil {
		line.add("-chardev", options("socket", "id", "console", "fd", line.inherit(c.Console)),
			"-device", options("isa-serial", "chardev", "console"))
	}
	if a := c.Agent; a.Serial != nil {
		socket := []string{"id", "agent", "fd", line.inherit(a.Serial)}
		if a.Listening {
			socket = append(socket, "server", "on", "wait", "off")
		}
		line.add("-chardev", options("socket", socket...),
			// Port 0 is reserved for a console, so one port takes two.
			"-device", options("virtio-serial-pci", "id", "serial0", "disable-legacy", "on", "max_ports", "2"),
			"-device", options("virtserialport", "id", agentPort, "bus", "serial0.0", "chardev", "agent",
				"name", a.PortName))
	} else if a.VhostVsock != nil {
		line.add("-device", options("vhost-vsock-pci", "id", "vsock0", "disable-legacy", "on",
			"vhostfd", line.inherit(a.VhostVsock), "guest-cid", strconv.FormatUint(uint64(a.VsockCID), 10)))
	}
}

// addBaseDevices adds what every guest has: entropy, a balloon that gives unused memory back, and the generation id
// from which a guest learns that it is a clone.
func (c Config) addBaseDevices(line *commandLine) {
	line.add("-object", options("rng-random", "id", "rng0", "filename", "/dev/urandom"),
		"-device", options("virtio-rng-pci", "rng", "rng0", "disable-legacy", "on"),
		"-device", options("virtio-balloon-pci", "id", "balloon0", "disable-legacy", "on", "free-page-reporting", "on"),
		"-device", options("vmgenid", "id", "vmgenid0", "guid", "auto"))
}

func (c Config) addShare(line *commandLine) {
	s := c.Share
	if s.Type == ShareVirtiofs {
		line.add("-chardev", options("socket", "id", "fs0", "path", s.Path),
			"-device", options("vhost-user-fs-pci", "id", "share0", "chardev", "fs0", "tag", s.Tag,
				"queue-size", strconv.Itoa(virtiofsQueueSize)))
		return
	}
	line.add("-fsdev", options("local", "id", "fs0", "path", s.Path,
		"security_model", "passthrough", "multidevs", "remap"),
		"-device", options("virtio-9p-pci", "id", "share0", "disable-legacy", "on", "fsdev", "fs0", "mount_tag", s.Tag))
}

// virtiofsQueueSize is the number of requests that fit into a virtiofs queue, the most that virtiofsd takes.
const virtiofsQueueSize = 1024

func (n NIC) addTo(line *commandLine) {
	netdev := []string{"id", n.ID}
	netdev = append(netdev, descriptors("fd", line, n.TapFDs)...)
	netdev = append(netdev, "vhost", onOff(len(n.VhostFDs) > 0))
	netdev = append(netdev, descriptors("vhostfd", line, n.VhostFDs)...)
	device := pairs(n.device())
	if n.Port != "" {
		device = append(device, "bus", n.Port, "addr", "0")
	}
	line.add("-netdev", options("tap", netdev...), "-device", options("virtio-net-pci", device...)+",romfile=")
}

// descriptors inherits files and names them: "fd" for one, "fds" with colons for several.
func descriptors(key string, line *commandLine, files []*os.File) []string {
	value := ""
	for i, f := range files {
		if i > 0 {
			value += ":"
		}
		value += line.inherit(f)
	}
	if len(files) > 1 {
		key += "s"
	}
	return []string{key, value}
}

func (d Disk) addTo(line *commandLine, index int) {
	filename := d.Path
	if d.File != nil {
		set := index + 1
		line.add("-add-fd", options("", "fd", line.inherit(d.File), "set", strconv.Itoa(set)))
		filename = fmt.Sprintf("/dev/fdset/%d", set)
	}
	line.add("-blockdev", options("driver=raw", "node-name", d.ID, "read-only", onOff(d.ReadOnly), "discard", "unmap",
		"file.driver", d.fileDriver(), "file.filename", filename, "file.locking", "off", "file.discard", "unmap"),
		"-device", options("virtio-blk-pci", pairs(d.device())...))
}
