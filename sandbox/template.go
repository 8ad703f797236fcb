package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/internal/atomicfile"
	"github.com/runvm/runvm/internal/undo"
	"github.com/runvm/runvm/internal/unixsock"
	"github.com/runvm/runvm/vmm"
)

// Files of a template.
const (
	memoryFile = "memory" // sparse, as long as the guest's memory
	stateFile  = "state"  // of the devices, in QEMU's own format
)

// settle is how long the guest of a template goes on after its agent is ready. In that time the kernel frees what it
// needed for booting, and reports free pages to the balloon device, two seconds after they became free
// (mm/page_reporting.c): every page that it keeps is copied for every clone. There is nothing to wait for instead.
const settle = 4 * time.Second

// CanClone tells whether sandboxes of this kind can be made from a template, which has its agent behind a serial port
// and gets its share by hot-plug.
func (c Config) CanClone() bool { return c.Virtiofsd != "" }

// TemplateArgs are the arguments with which QEMU is started to make the template for a sandbox: what they do not say
// the same about has another template.
func TemplateArgs(c Config) ([]string, error) {
	args, _, err := templateMachine(c, vmm.AgentChannel{}).Command()
	return args, err
}

// templateMachine describes the machine of a template, without the files that connect it.
func templateMachine(c Config, agent vmm.AgentChannel) vmm.Config {
	c.Vsock = false
	return vmm.Config{
		Name: "template", Accel: c.Accel, TBSizeMiB: c.TBSizeMiB, CPUs: c.CPUs, MaxCPUs: c.CPUs, MemoryMiB: c.MemoryMiB,
		MemoryFile: vmm.MemoryPath, Kernel: c.Kernel, Initrd: c.Initrd, HotplugPorts: c.HotplugPorts + templatePorts,
		Agent: agent, Cmdline: cmdline(c, serialParameters()),
	}
}

// MakeTemplate boots a virtual machine as c describes it, without network and share, until its agent is ready, and
// writes its memory and state into dir, which exists and is empty. Nobody ever speaks with its agent, so nothing is in
// it that is one sandbox's. What fails leaves files in dir, which the caller removes. Dirs.Jail, Dirs.VM and Dirs.QMP
// are the template's own.
func MakeTemplate(ctx context.Context, c Config, dir string) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.BootTimeout,
		fmt.Errorf("no answer within %v (vm.boot_timeout_seconds)", c.BootTimeout))
	defer cancel()
	memory := filepath.Join(dir, memoryFile)
	if err := makeMemory(memory, c.MemoryMiB); err != nil {
		return err
	}
	listener, err := unixsock.Listen(c.Dirs.VM, "agent.sock")
	if err != nil {
		return err
	}
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		return err
	}
	defer socket.Close()

	s := &Sandbox{config: c, log: func(string, ...any) {}}
	var u undo.Stack
	defer u.Run(&err)
	u.Push(s.stopMachine)
	jail := s.jail()
	jail.Binds = append(jail.Binds, vmm.Bind{Source: memory, Target: vmm.MemoryPath})
	configure := func(qmp, console *os.File) vmm.Config {
		vc := templateMachine(c, vmm.AgentChannel{Serial: socket, Listening: true, PortName: agentproto.SerialPortName})
		vc.QMP, vc.Console = qmp, console
		return vc
	}
	if err = s.startVM(ctx, configure, jail); err != nil {
		return err
	}
	if err = s.waitForGuest(ctx); err != nil {
		return s.explain(err)
	}
	if err = s.saveTo(ctx, filepath.Join(dir, stateFile)); err != nil {
		return s.explain(err)
	}
	s.quit()
	u.Release()
	if err = s.stopMachine(); err != nil {
		return err
	}
	return os.Chown(memory, 0, 0)
}

// makeMemory makes the file for the guest's memory, for QEMU's user.
func makeMemory(path string, mebibytes int) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(int64(mebibytes)<<20), f.Chown(int(qemuID()), int(qemuID())), f.Close())
}

// waitForGuest returns when the agent has opened its port, where it waits for a host, and the guest has come to rest.
func (s *Sandbox) waitForGuest(ctx context.Context) error {
	ctx, cancel := s.whileVMRuns(ctx)
	defer cancel()
	if err := s.qmp.WaitForPort(ctx); err != nil {
		return err
	}
	rest := time.NewTimer(settle)
	defer rest.Stop()
	select {
	case <-rest.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// saveTo stops the machine and writes its state to a file.
func (s *Sandbox) saveTo(ctx context.Context, path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := s.qmp.Stop(ctx); err != nil {
		return err
	}
	return s.qmp.Save(ctx, f)
}

// TemplateFailed is the file that keeps a template from being used: it says why.
const TemplateFailed = "failed"

// MarkTemplateFailed makes sure that the template in dir is not used again.
func MarkTemplateFailed(dir string, why error) error {
	return atomicfile.WriteFile(filepath.Join(dir, TemplateFailed), []byte(why.Error()+"\n"), 0o600)
}

// openTemplate opens a template's files. What is not as MakeTemplate leaves it is refused.
func openTemplate(dir string) (memory, state *os.File, err error) {
	if memory, err = openOwn(filepath.Join(dir, memoryFile)); err != nil {
		return nil, nil, err
	}
	if state, err = openOwn(filepath.Join(dir, stateFile)); err != nil {
		return nil, nil, errors.Join(err, memory.Close())
	}
	return memory, state, nil
}

// openOwn opens a file that only root can have written. It never waits, as opening a fifo would.
func openOwn(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, errors.Join(os.NewSyscallError("fstat", err), f.Close())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o077 != 0 || st.Uid != 0 {
		return nil, errors.Join(fmt.Errorf("%s: not a file of root's alone", path), f.Close())
	}
	return f, nil
}
