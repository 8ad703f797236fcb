package bundle

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ordinaryDevices says to people what isOrdinaryDevice takes.
const ordinaryDevices = "memory devices such as /dev/null, terminals, /dev/fuse and /dev/net/tun"

// Device numbers, Documentation/admin-guide/devices.txt of the kernel.
const (
	majorMem  = 1   // null, zero, full, random, urandom, kmsg
	majorTTY  = 5   // tty, console, ptmx
	majorMisc = 10  // see the minors
	majorPTS  = 136 // pts/0 and so on
	minorTUN  = 200
	minorFUSE = 229
)

// isOrdinaryDevice says whether a character device is one that the guest has, too, and that means nothing of the host.
func isOrdinaryDevice(major, minor int64) bool {
	switch major {
	case majorMem, majorTTY, majorPTS:
		return true
	case majorMisc:
		return minor == minorTUN || minor == minorFUSE
	default:
		return false
	}
}

// guestDevicePath returns where the guest has a harmless device of the host's, or "".
func guestDevicePath(major, minor int64) string {
	type number struct{ major, minor int64 }
	return map[number]string{
		{majorMem, 3}:          "/dev/null",
		{majorMem, 5}:          "/dev/zero",
		{majorMem, 7}:          "/dev/full",
		{majorMem, 8}:          "/dev/random",
		{majorMem, 9}:          "/dev/urandom",
		{majorTTY, 0}:          "/dev/tty",
		{majorTTY, 2}:          "/dev/ptmx",
		{majorMisc, minorTUN}:  "/dev/net/tun",
		{majorMisc, minorFUSE}: "/dev/fuse",
	}[number{major, minor}]
}

// planDevices keeps the device nodes that mean the same in the guest, and those of block devices, which the guest gets.
// Engines list all of the host's devices for a privileged container, which is privileged in the guest: the others are
// then left out with a warning.
func (p *planner) planDevices() error {
	l := p.plan.Guest.Linux
	var keep []specs.LinuxDevice
	var left []string
	for _, d := range l.Devices {
		err := checkDevice(d)
		block := err == nil && d.Type == "b"
		switch {
		case block && p.anyDevice && !isAskedFor(d, l.Resources.Devices, hostNode):
			left = append(left, d.Path)
		case block:
			p.disk(d.Major, d.Minor)
			keep = append(keep, d)
		case err == nil:
			keep = append(keep, d)
		case p.anyDevice:
			left = append(left, d.Path)
		default:
			return err
		}
	}
	l.Devices = keep
	if len(left) > 0 {
		slices.Sort(left)
		p.warnf("privileged container: %d devices of the host are left out: %s (bind a block device that the container shall have)",
			len(left), shorten(left))
	}
	return nil
}

func checkDevice(d specs.LinuxDevice) error {
	switch d.Type {
	case "c", "u":
		if !isOrdinaryDevice(d.Major, d.Minor) {
			return unsupportedf("device %s (%s %d:%d) is not supported yet: only %s are", d.Path, d.Type, d.Major,
				d.Minor, ordinaryDevices)
		}
		return nil
	case "p", "b":
		return nil
	default:
		return unsupportedf("device %s has type %q: it must be c, u, b or p", d.Path, d.Type)
	}
}

// shorten names the first few.
func shorten(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + ", …"
}
