package executor

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/apparmor"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux"
)

// prepare fits a spec to the guest.
func prepare(spec *specs.Spec, id string) error {
	if spec.Process == nil {
		return fmt.Errorf("%w: process property must not be empty", ErrInvalid)
	}
	if spec.Root == nil || !filepath.IsAbs(spec.Root.Path) {
		return fmt.Errorf("%w: root.path must be an absolute path in the guest", ErrInvalid)
	}
	if spec.Linux == nil {
		return fmt.Errorf("%w: linux property must not be empty", ErrInvalid)
	}
	// The host's cgroup path means nothing here; resources are those of a group at the top of the guest's tree.
	spec.Linux.CgroupsPath = "/" + id
	keepGuestHooks(spec)
	bindSysfs(spec)
	dropLabels(spec)
	return validateProcess(spec.Process)
}

// keepGuestHooks drops the hooks that run in the runtime's namespaces: those are the host's.
func keepGuestHooks(spec *specs.Spec) {
	if spec.Hooks != nil {
		spec.Hooks = &specs.Hooks{CreateContainer: spec.Hooks.CreateContainer, StartContainer: spec.Hooks.StartContainer}
	}
}

// join gives the spec's namespaces their paths.
func join(spec *specs.Spec, paths map[string]string) error {
	for kind, path := range paths {
		t := specs.LinuxNamespaceType(kind)
		if kind == "net" {
			t = specs.NetworkNamespace
		}
		i := slices.IndexFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == t })
		if i < 0 {
			return fmt.Errorf("%w: the configuration has no %s namespace", ErrInvalid, t)
		}
		spec.Linux.Namespaces[i].Path = path
		if t == specs.UserNamespace {
			spec.Linux.UIDMappings, spec.Linux.GIDMappings = nil, nil // it has them
		}
	}
	return nil
}

// bindSysfs replaces a new sysfs by the guest's where the container has a user namespace: mounting one needs
// CAP_SYS_ADMIN over the network namespace, which is the guest's own and shared by all containers.
func bindSysfs(spec *specs.Spec) {
	if !hasNamespace(spec, specs.UserNamespace) || hasNamespace(spec, specs.NetworkNamespace) {
		return
	}
	for i, m := range spec.Mounts {
		if m.Type == "sysfs" {
			spec.Mounts[i] = specs.Mount{
				Destination: m.Destination, Type: "bind", Source: "/sys", Options: append([]string{"rbind"}, m.Options...),
			}
		}
	}
}

func hasNamespace(spec *specs.Spec, kind specs.LinuxNamespaceType) bool {
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == kind {
			return true
		}
	}
	return false
}

// dropLabels removes the labels of security modules that the guest's kernel does not have. They name policies of the
// host, which confines the VM as a whole.
func dropLabels(spec *specs.Spec) {
	if !selinux.GetEnabled() {
		spec.Linux.MountLabel = ""
	}
	dropProcessLabels(spec.Process)
}

func dropProcessLabels(p *specs.Process) {
	if !apparmor.IsEnabled() {
		p.ApparmorProfile = ""
	}
	if !selinux.GetEnabled() {
		p.SelinuxLabel = ""
	}
}

// validateProcess checks what runc checks, with its words.
func validateProcess(p *specs.Process) error {
	switch {
	case p.Cwd == "":
		return fmt.Errorf("%w: Cwd property must not be empty", ErrInvalid)
	case !filepath.IsAbs(p.Cwd):
		return fmt.Errorf("%w: Cwd must be an absolute path", ErrInvalid)
	case len(p.Args) == 0:
		return fmt.Errorf("%w: args must not be empty", ErrInvalid)
	default:
		return nil
	}
}

// logLevel is logrus' Info, which runc gives its children.
const logLevel = "4"

// newProcess turns a spec's process into libcontainer's, as runc does.
func newProcess(p *specs.Process) (*libcontainer.Process, error) {
	lp := &libcontainer.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd,
		UID: int(p.User.UID), GID: int(p.User.GID),
		Label: p.SelinuxLabel, AppArmorProfile: p.ApparmorProfile,
		NoNewPrivileges: &p.NoNewPrivileges,
		Scheduler:       p.Scheduler, IOPriority: p.IOPriority,
		LogLevel: logLevel,
	}
	if p.ConsoleSize != nil {
		lp.ConsoleWidth, lp.ConsoleHeight = uint16(p.ConsoleSize.Width), uint16(p.ConsoleSize.Height)
	}
	if c := p.Capabilities; c != nil {
		lp.Capabilities = &configs.Capabilities{
			Bounding: c.Bounding, Effective: c.Effective, Inheritable: c.Inheritable,
			Permitted: c.Permitted, Ambient: c.Ambient,
		}
	}
	for _, gid := range p.User.AdditionalGids {
		lp.AdditionalGroups = append(lp.AdditionalGroups, int(gid))
	}
	for _, limit := range p.Rlimits {
		kind, ok := rlimits[limit.Type]
		if !ok {
			return nil, fmt.Errorf("wrong rlimit value: %s", limit.Type)
		}
		lp.Rlimits = append(lp.Rlimits, configs.Rlimit{Type: kind, Hard: limit.Hard, Soft: limit.Soft})
	}
	affinity, err := configs.ConvertCPUAffinity(p.ExecCPUAffinity)
	if err != nil {
		return nil, err
	}
	lp.CPUAffinity = affinity
	return lp, nil
}
