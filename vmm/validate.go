package vmm

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// QEMU's and virtio's bounds.
const (
	maxVirtiofsTag = 36 // virtio specification, section 5.11.4
	max9PTag       = 31 // MAX_TAG_LEN - 1 in QEMU's hw/9pfs
	maxPortName    = 31 // the longest name that Linux keeps in full in /sys/class/virtio-ports
	maxDiskSerial  = 20 // VIRTIO_BLK_ID_BYTES
	maxQueues      = 64 // vectors stay below what a guest maps
	firstGuestCID  = 3  // vsock(7)
)

// MaxHotplugPorts is the greatest Config.HotplugPorts: the slots of the root bus that other devices leave.
const MaxHotplugPorts = 24

// invalid makes an error that wraps ErrInvalidConfig.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidConfig, fmt.Sprintf(format, args...))
}

func (c Config) validate() error {
	errs := []error{c.validateMachine(), c.Agent.validate()}
	if c.Share != nil {
		errs = append(errs, c.Share.validate())
		if c.Share.Type == ShareVirtiofs && !c.SharedMemory && c.MemoryFile == "" {
			errs = append(errs, invalid("a virtiofs share needs shared memory"))
		}
	}
	ids := map[string]bool{}
	for _, n := range c.NICs {
		errs = append(errs, n.validate(), unique(ids, n.ID))
	}
	for _, d := range c.Disks {
		errs = append(errs, d.validate(), unique(ids, d.ID))
	}
	return errors.Join(errs...)
}

func (c Config) validateMachine() error {
	switch {
	case c.Accel != KVM && c.Accel != TCG:
		return invalid("accelerator %q: want %q or %q", c.Accel, KVM, TCG)
	case c.CPUs < 1:
		return invalid("%d CPUs: want at least 1", c.CPUs)
	case c.MaxCPUs != 0 && c.MaxCPUs < c.CPUs:
		return invalid("%d CPUs are more than the maximum of %d", c.CPUs, c.MaxCPUs)
	case c.MemoryMiB < 1:
		return invalid("%d MiB of memory: want at least 1", c.MemoryMiB)
	case c.TBSizeMiB < 0:
		return invalid("translation cache of %d MiB: want 0 or more", c.TBSizeMiB)
	case c.HotplugPorts < 0 || c.HotplugPorts > MaxHotplugPorts:
		return invalid("%d hot-plug ports: want 0 to %d", c.HotplugPorts, MaxHotplugPorts)
	case c.Kernel == "":
		return invalid("no kernel")
	}
	for _, s := range []string{c.Name, c.Kernel, c.Initrd, c.Cmdline, c.MemoryFile} {
		if strings.ContainsRune(s, 0) {
			return invalid("%q contains a NUL byte", s)
		}
	}
	return nil
}

func (a AgentChannel) validate() error {
	switch {
	case a.Serial != nil && a.VhostVsock != nil:
		return invalid("the agent has both a serial port and vsock: want one")
	case a.Listening && a.Serial == nil:
		return invalid("a listening serial port without a socket")
	case a.Serial != nil && (a.PortName == "" || len(a.PortName) > maxPortName):
		return invalid("serial port name %q: want 1 to %d bytes", a.PortName, maxPortName)
	case a.VhostVsock != nil && (a.VsockCID < firstGuestCID || a.VsockCID == 1<<32-1):
		return invalid("vsock CID %d: want %d or more", a.VsockCID, firstGuestCID)
	}
	return nil
}

func (s Share) validate() error {
	longest := max9PTag
	switch s.Type {
	case ShareVirtiofs:
		longest = maxVirtiofsTag
	case Share9P:
	default:
		return invalid("share of type %q: want %q or %q", s.Type, ShareVirtiofs, Share9P)
	}
	if s.Tag == "" || len(s.Tag) > longest {
		return invalid("share tag %q: want 1 to %d bytes", s.Tag, longest)
	}
	if s.Path == "" || strings.ContainsRune(s.Path, 0) {
		return invalid("share path %q: want a path", s.Path)
	}
	return nil
}

func (n NIC) validate() error {
	if err := checkID("NIC", n.ID); err != nil {
		return err
	}
	if mac, err := net.ParseMAC(n.MAC); err != nil || len(mac) != 6 {
		return invalid("NIC %s: MAC address %q: want six bytes", n.ID, n.MAC)
	}
	taps := len(n.TapFDs)
	switch {
	case taps == 0 || taps > maxQueues:
		return invalid("NIC %s: %d tap descriptors: want 1 to %d", n.ID, taps, maxQueues)
	case n.Queues != 0 && n.Queues != taps:
		return invalid("NIC %s: %d queues with %d tap descriptors: want as many", n.ID, n.Queues, taps)
	case len(n.VhostFDs) != 0 && len(n.VhostFDs) != taps:
		return invalid("NIC %s: %d vhost descriptors with %d tap descriptors: want none or as many",
			n.ID, len(n.VhostFDs), taps)
	case n.MTU < 0 || n.MTU > 65535:
		return invalid("NIC %s: MTU %d: want 0 to 65535", n.ID, n.MTU)
	}
	return nil
}

func (d Disk) validate() error {
	if err := checkID("disk", d.ID); err != nil {
		return err
	}
	switch {
	case d.Format != "" && d.Format != "raw":
		return invalid("disk %s: format %q: want \"raw\"", d.ID, d.Format)
	case (d.File != nil) == (d.Path != ""):
		return invalid("disk %s: want either an open file or a path", d.ID)
	case strings.ContainsRune(d.Path, 0):
		return invalid("disk %s: path %q contains a NUL byte", d.ID, d.Path)
	case len(d.Serial) > maxDiskSerial:
		return invalid("disk %s: serial %q: want at most %d bytes", d.ID, d.Serial, maxDiskSerial)
	}
	return nil
}

func unique(ids map[string]bool, id string) error {
	if ids[id] {
		return invalid("two devices have the id %s", id)
	}
	ids[id] = true
	return nil
}
