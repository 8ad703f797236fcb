// Package config is the administrator's configuration, /etc/runvm/config.toml. Every setting has a built-in value, so
// that no file is needed.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/BurntSushi/toml"
)

// DefaultPath is read when neither --config nor RUNVM_CONFIG names another file; it need not exist.
const DefaultPath = "/etc/runvm/config.toml"

// PathVariable is the environment variable that names another configuration file, for engines that pass no flags.
const PathVariable = "RUNVM_CONFIG"

// Config is the whole configuration.
type Config struct {
	QEMU      string `toml:"qemu_path"`      // empty: qemu-system-x86_64 of the PATH
	Virtiofsd string `toml:"virtiofsd_path"` // empty: where distributions put it
	Accel     string `toml:"accelerator"`    // "auto", "kvm", "tcg"
	Template  string `toml:"template"`       // "auto", "off"
	Guest     Guest  `toml:"guest"`
	VM        VM     `toml:"vm"`
	Share     Share  `toml:"share"`
	Cgroup    Cgroup `toml:"cgroup"`
}

// Guest is the guest image.
type Guest struct {
	Kernel     string `toml:"kernel"`            // empty: the installed image
	Initramfs  string `toml:"initramfs"`         // empty: the installed image
	Parameters string `toml:"kernel_parameters"` // appended to the kernel command line
}

// VM is the size and shape of a virtual machine.
type VM struct {
	CPUs         int    `toml:"vcpus"`                     // at least
	MemoryMiB    int    `toml:"memory_mib"`                // at least
	PodMemoryMiB int    `toml:"pod_memory_mib"`            // at least, for a pod whose containers come later
	HeadroomMiB  int    `toml:"memory_headroom_mib"`       // added to a container's limit: guest kernel and agent
	TBSizeMiB    int    `toml:"tcg_translation_cache_mib"` // software emulation only
	HotplugPorts int    `toml:"hotplug_ports"`             // devices that can be added to a running VM
	Transport    string `toml:"transport"`                 // "auto", "vsock", "serial"
	BootSeconds  int    `toml:"boot_timeout_seconds"`
}

// Share is how a container's root and volumes reach the guest.
type Share struct {
	Type           string `toml:"type"`  // "auto", "virtiofs", "9p"
	Cache          string `toml:"cache"` // virtiofsd: "always", "auto", "never"
	TimeoutSeconds int    `toml:"cache_timeout_seconds"`
}

// Cgroup is what the host cgroup of a container is granted beyond the container's own limits.
type Cgroup struct {
	MemoryOverheadMiB int     `toml:"memory_overhead_mib"` // QEMU, virtiofsd, monitor, shim
	CPUOverhead       float64 `toml:"cpu_overhead"`        // CPUs
}

// Default is the built-in configuration.
func Default() Config {
	return Config{
		Accel: "auto", Template: "auto",
		VM: VM{
			CPUs: 1, MemoryMiB: 512, PodMemoryMiB: 2048, HeadroomMiB: 128, TBSizeMiB: 64, HotplugPorts: 4, Transport: "auto", BootSeconds: 120,
		},
		Share:  Share{Type: "auto", Cache: "always", TimeoutSeconds: 1},
		Cgroup: Cgroup{MemoryOverheadMiB: 384, CPUOverhead: 0.5},
	}
}

// Load reads the file at path over the built-in values; an empty path means RUNVM_CONFIG, then DefaultPath.
func Load(path string) (Config, error) {
	c := Default()
	optional := false
	if path == "" {
		path = os.Getenv(PathVariable)
	}
	if path == "" {
		path, optional = DefaultPath, true
	}
	data, err := os.ReadFile(path)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if err := c.decode(string(data)); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// decode applies TOML text and checks the result.
func (c *Config) decode(text string) error {
	meta, err := toml.Decode(text, c)
	if err != nil {
		return err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return fmt.Errorf("unknown setting %q", unknown[0].String())
	}
	return c.check()
}

// check refuses values that no VM can be made from.
func (c *Config) check() error {
	oneOf := func(key, value string, allowed ...string) error {
		for _, a := range allowed {
			if value == a {
				return nil
			}
		}
		return fmt.Errorf("%s = %q: must be one of %s", key, value, strings.Join(allowed, ", "))
	}
	within := func(key string, value, low, high int) error {
		if value < low || value > high {
			return fmt.Errorf("%s = %d: must be from %d to %d", key, value, low, high)
		}
		return nil
	}
	overhead := func() error {
		if !(c.Cgroup.CPUOverhead >= 0 && c.Cgroup.CPUOverhead <= 1024) { // nor NaN
			return fmt.Errorf("cgroup.cpu_overhead = %v: must be from 0 to 1024", c.Cgroup.CPUOverhead)
		}
		return nil
	}
	return errors.Join(
		oneOf("accelerator", c.Accel, "auto", "kvm", "tcg"),
		oneOf("template", c.Template, "auto", "off"),
		oneOf("vm.transport", c.VM.Transport, "auto", "vsock", "serial"),
		oneOf("share.type", c.Share.Type, "auto", "virtiofs", "9p"),
		oneOf("share.cache", c.Share.Cache, "always", "auto", "never"),
		within("share.cache_timeout_seconds", c.Share.TimeoutSeconds, 0, 86400),
		within("vm.vcpus", c.VM.CPUs, 1, 240),
		within("vm.memory_mib", c.VM.MemoryMiB, 128, 1<<20),
		within("vm.pod_memory_mib", c.VM.PodMemoryMiB, 128, 1<<20),
		within("vm.memory_headroom_mib", c.VM.HeadroomMiB, 64, 1<<16),
		within("vm.tcg_translation_cache_mib", c.VM.TBSizeMiB, 0, 2048),
		within("vm.hotplug_ports", c.VM.HotplugPorts, 0, 16),
		within("vm.boot_timeout_seconds", c.VM.BootSeconds, 1, 3600),
		within("cgroup.memory_overhead_mib", c.Cgroup.MemoryOverheadMiB, 0, 1<<16),
		overhead(),
	)
}
