package create

import (
	"os"
	"path/filepath"
	"time"

	"github.com/runvm/runvm/config"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/sandbox"
	"github.com/runvm/runvm/template"
)

// Templates is where this host's templates are, whatever --root is.
func Templates() template.Store {
	return template.Open(filepath.Join(container.DefaultRoot, template.DirName))
}

// Template describes the machine of which there is a template: the one that a container without limits of its own gets.
// ok is false where the configuration allows none.
func Template(c config.Config) (key string, machine sandbox.Config, ok bool, err error) {
	t, err := findTools(c)
	if err != nil {
		return "", sandbox.Config{}, false, err
	}
	return templateOf(c, t)
}

func templateOf(c config.Config, t tools) (key string, machine sandbox.Config, ok bool, err error) {
	machine = machineConfig(c, t)
	machine.CPUs, machine.MemoryMiB = c.VM.CPUs, c.VM.MemoryMiB
	if !machine.CanClone() || c.VM.Transport == "vsock" {
		return "", sandbox.Config{}, false, nil
	}
	args, err := sandbox.TemplateArgs(machine)
	if err != nil {
		return "", sandbox.Config{}, false, err
	}
	self, err := os.Executable()
	if err != nil {
		return "", sandbox.Config{}, false, err
	}
	key, err = template.Key(template.Machine{Args: args, Files: []string{machine.QEMU, machine.Kernel, machine.Initrd, self}})
	return key, machine, err == nil, err
}

// machineConfig is the part of a sandbox's configuration that is the same for all.
func machineConfig(c config.Config, t tools) sandbox.Config {
	return sandbox.Config{
		QEMU: t.qemu, Virtiofsd: t.virtiofsd, VirtiofsdRust: t.virtiofsdRust,
		Cache: c.Share.Cache, CacheTimeout: c.Share.TimeoutSeconds,
		Kernel: t.image.Kernel, Initrd: t.image.Initrd, Parameters: c.Guest.Parameters,
		Accel: t.accel, TBSizeMiB: c.VM.TBSizeMiB, HotplugPorts: c.VM.HotplugPorts, Vsock: t.vsock,
		BootTimeout: time.Duration(c.VM.BootSeconds) * time.Second,
	}
}

// findTemplate lets the sandbox be cloned if there is a template of its machine. If there is none yet, makeTemplate
// makes one for the next time. Whatever is wrong with templates, the sandbox can boot: it costs a line in the log.
func (c *creation) findTemplate(s *sandbox.Config) {
	vm := c.config.VM
	if c.config.Template == "off" || s.CPUs != vm.CPUs || s.MemoryMiB != vm.MemoryMiB || s.HotplugPorts != vm.HotplugPorts {
		return
	}
	key, machine, ok, err := templateOf(c.config, c.tools)
	if err != nil {
		c.globals.Logger.Warnf("templates are not used: %v", err)
	}
	if !ok {
		return
	}
	if t, ok := Templates().Find(key); ok {
		if t.Failed == "" {
			s.Template = t.Dir
			c.globals.Logger.Debugf("the virtual machine is a clone of the template %s", key)
		}
		return
	}
	c.makeTemplate = func() {
		if err := Templates().StartMaker(key, machine, c.globals.ChildFlags()); err != nil {
			c.globals.Logger.Warn(err)
		}
	}
}
