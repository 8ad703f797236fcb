package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/runvm/runvm/internal/undo"
	"github.com/runvm/runvm/netns"
	"github.com/runvm/runvm/vmm"
)

// templatePorts is how many hot-plug ports a template has besides those that the configuration asks for: the first is for
// a NIC, as in a machine that boots, the second for the share.
const templatePorts = 2

// cloneTimeout bounds the attempt to use a template: what is broken must not eat up the time for booting.
const cloneTimeout = 30 * time.Second

// fromTemplate makes the guest a clone of the template's: QEMU takes over the saved state instead of booting, then gets
// the share and the NICs. What fails leaves nothing behind.
func (s *Sandbox) fromTemplate(ctx context.Context, state netns.State) (err error) {
	if spare := s.config.HotplugPorts; len(s.nics) > spare+1 {
		return fmt.Errorf("%d interfaces are more than a clone has hot-plug ports (vm.hotplug_ports is %d)", len(s.nics), spare)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cloneTimeout, fmt.Errorf("no answer within %v", cloneTimeout))
	defer cancel()
	memory, saved, err := openTemplate(s.config.Template)
	if err != nil {
		return err
	}
	defer memory.Close()
	defer saved.Close()

	var u undo.Stack
	defer u.Run(&err)
	u.Push(s.reset)
	u.Push(s.stopMachine)
	if err = s.startDaemon(); err != nil {
		return err
	}
	channel, err := newSerialChannel()
	if err != nil {
		return err
	}
	s.channel = channel
	jail := s.jail()
	jail.Memory = memory
	if err = s.startVM(ctx, s.cloneConfig, jail); err != nil {
		return err
	}
	if err = s.qmp.Load(ctx, saved); err != nil {
		return s.explain(err)
	}
	if err = s.plugAll(ctx); err != nil {
		return s.explain(err)
	}
	if err = s.qmp.Cont(ctx); err != nil {
		return s.explain(err)
	}
	if err = s.waitForAgent(ctx); err != nil {
		return err
	}
	if err = s.configure(ctx, state); err != nil {
		return err
	}
	u.Release()
	return nil
}

// reset leaves the sandbox, whose machine has been stopped, as it was before it got one.
func (s *Sandbox) reset() error {
	s.vm, s.qmp, s.console, s.daemon, s.channel, s.agent = nil, nil, nil, nil, nil, nil
	s.network, s.relaysDNS = netns.State{}, false
	s.assignPorts()
	var errs []error
	for _, name := range []string{s.config.Dirs.QMP, s.config.Dirs.Share} {
		if err := os.Remove(filepath.Join(s.config.Dirs.VM, name)); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// plugAll gives a clone what the template did not have.
func (s *Sandbox) plugAll(ctx context.Context) error {
	spare := s.config.HotplugPorts
	s.ports = spare + 1 // the last one, the share's, is never free
	if err := s.qmp.AddShare(ctx, "share0", *s.vmShare(), vmm.PortID(spare+1)); err != nil {
		return err
	}
	for i, n := range s.nics {
		n.port = spare
		if i > 0 {
			n.port = i - 1
		}
		if err := s.qmp.AddNIC(ctx, n.device(), vmm.PortID(n.port)); err != nil {
			return fmt.Errorf("connect interface %s: %w", n.iface.Name, err)
		}
	}
	return nil
}

// cloneConfig describes the machine of a clone. It differs from the template's in nothing that QEMU saves.
func (s *Sandbox) cloneConfig(qmp, console *os.File) vmm.Config {
	agent, _ := s.channel.guestEnd()
	c := templateMachine(s.config, agent)
	c.Name, c.QMP, c.Console, c.Incoming = s.config.ID, qmp, console, true
	return c
}
