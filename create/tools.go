package create

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/cgroup"
	"github.com/runvm/runvm/config"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/guest/image"
	"github.com/runvm/runvm/sandbox"
	"github.com/runvm/runvm/vmm"
)

// tools are the programs and files that a VM is made with.
type tools struct {
	qemu          string
	virtiofsd     string // empty: 9p
	virtiofsdRust bool
	accel         vmm.Accel
	vsock         bool
	image         image.Image
	warnings      []string
}

// findTools looks everything up, so that what is missing is said before anything is made.
func findTools(c config.Config) (t tools, err error) {
	exe, err := os.Executable()
	if err != nil {
		return tools{}, err
	}
	if t.image, err = image.Find(c.Guest.Kernel, c.Guest.Initramfs, filepath.Dir(exe)); err != nil {
		return tools{}, err
	}
	if t.qemu, err = vmm.FindQEMU(c.QEMU); err != nil {
		return tools{}, err
	}
	if c.Share.Type != "9p" {
		t.virtiofsd, t.virtiofsdRust, err = vmm.FindVirtiofsd(c.Virtiofsd)
		if err != nil && (c.Share.Type == "virtiofs" || c.Virtiofsd != "") {
			return tools{}, err
		}
	}
	var reason string
	if t.accel, reason, err = vmm.DetectAccel(c.Accel); err != nil {
		return tools{}, err
	}
	if t.accel == vmm.TCG && c.Accel == "auto" {
		t.warnings = append(t.warnings, "running without hardware virtualisation: "+reason)
	}
	t.vsock, err = useVsock(c.VM.Transport)
	return t, err
}

// useVsock decides the transport: vsock where the host has it.
func useVsock(transport string) (bool, error) {
	if transport == "serial" {
		return false, nil
	}
	f, err := os.OpenFile("/dev/vhost-vsock", os.O_RDWR, 0)
	if err != nil {
		if transport == "vsock" {
			return false, fmt.Errorf("vm.transport = \"vsock\": %w", err)
		}
		return false, nil
	}
	return true, f.Close()
}

// sandboxConfig puts together what the monitor needs.
func (c *creation) sandboxConfig() sandbox.Config {
	dir, size := c.place.Sandbox.Dir(), c.vmSize()
	hostname := c.bundle.Spec.Hostname
	if hostname == "" {
		hostname = "runvm"
	}
	s := machineConfig(c.config, c.tools)
	s.ID, s.Hostname = c.place.Sandbox.ID, hostname
	s.Dirs = sandbox.Dirs{
		Shared: dir.Shared(), Jail: dir.Jail(), VM: dir.VM(), Share: dir.ShareSocket(), QMP: dir.QMPSocket(),
	}
	s.CPUs, s.MemoryMiB = size.CPUs, size.MemoryMiB
	s.HotplugPorts = min(c.config.VM.HotplugPorts+len(c.plan.Disks), vmm.MaxHotplugPorts)
	// The monitor runs in the namespace, and its own path to it stays valid whatever becomes of the engine's.
	s.NetNS = "/proc/self/ns/net"
	c.findTemplate(&s)
	return s
}

// minMemoryMiB is the memory of a VM that no limit asks for more of. One whose further containers are still to come gets
// enough for several, since it does not grow: what nobody has used costs the guest's bookkeeping of it alone.
func (c *creation) minMemoryMiB() int {
	if c.kind != bundle.OwnVM || c.bundle.IsPause() {
		return max(c.config.VM.MemoryMiB, c.config.VM.PodMemoryMiB)
	}
	return c.config.VM.MemoryMiB
}

// VMSize is the size of the virtual machine of a container with the given limits.
func VMSize(minMemoryMiB int, c config.VM, s bundle.Sizing) container.VMSize {
	return container.VMSize{CPUs: cpus(c, s), MemoryMiB: memoryMiB(minMemoryMiB, c, s)}
}

func (c *creation) vmSize() container.VMSize {
	return VMSize(c.minMemoryMiB(), c.config.VM, c.plan.Sizing)
}

// memoryMiB sizes the VM: the configured minimum, or the container's limit with room for the guest's kernel, never
// silently less.
func memoryMiB(minimum int, c config.VM, s bundle.Sizing) int {
	if s.MemoryBytes <= 0 || s.MemoryBytes >= cgroup.Unlimited {
		return minimum
	}
	limit := (s.MemoryBytes + 1<<20 - 1) >> 20
	// No container gets more than the host has, with runc neither; the guest's cgroup still has the limit asked for.
	var host unix.Sysinfo_t
	if err := unix.Sysinfo(&host); err == nil {
		limit = min(limit, int64(host.Totalram)*int64(host.Unit)>>20)
	}
	return max(minimum, int(limit)+c.HeadroomMiB)
}

// cpus sizes the VM: the configured minimum, or enough for the container's quota, but no more than the host has.
func cpus(c config.VM, s bundle.Sizing) int {
	return min(max(c.CPUs, int(math.Ceil(s.CPUs))), max(c.CPUs, runtime.NumCPU()))
}
