package bundle

import (
	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// planHooks divides the hooks between the host and the guest (runtime-spec, "POSIX-platform Hooks"). createContainer
// hooks are programs of the host that run in the container's namespaces, which are in the guest: one that is in the
// container's root as well runs there, in front of the startContainer hooks.
func (p *planner) planHooks() error {
	h := p.bundle.Spec.Hooks
	p.plan.Guest.Hooks = nil
	if h == nil {
		return nil
	}
	p.plan.HostHooks = specs.Hooks{
		//lint:ignore SA1019 deprecated in the specification, still used by Docker
		Prestart:      h.Prestart,
		CreateRuntime: h.CreateRuntime, Poststart: h.Poststart, Poststop: h.Poststop,
	}
	for _, hook := range h.CreateContainer {
		f, err := pathrs.OpenInRoot(p.bundle.Rootfs(), hook.Path)
		if err != nil {
			return unsupportedf("the createContainer hook %s cannot run in the virtual machine, as it is not in the "+
				"container's root filesystem: put it there, or make it a createRuntime hook", hook.Path)
		}
		_ = f.Close()
	}
	guest := append(append([]specs.Hook(nil), h.CreateContainer...), h.StartContainer...)
	if len(guest) > 0 {
		p.plan.Guest.Hooks = &specs.Hooks{StartContainer: guest}
	}
	return nil
}
