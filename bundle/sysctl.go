package bundle

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// checkSysctls refuses names that are no path below /proc/sys, and those with a field of their own in the spec.
func checkSysctls(s *specs.Spec) error {
	for name := range s.Linux.Sysctl {
		parts := strings.FieldsFunc(name, isSysctlSeparator)
		// No empty component also means no "..", since every "." separates.
		if len(parts) < 2 || len(parts) != strings.Count(name, ".")+strings.Count(name, "/")+1 ||
			strings.ContainsRune(name, 0) {
			return fmt.Errorf("sysctl %q is not a valid name", name)
		}
		if dotted(name) == "kernel.hostname" && findNamespace(s.Linux.Namespaces, specs.UTSNamespace) != nil {
			return fmt.Errorf("sysctl %q is not allowed as it conflicts with the OCI %q field", name, "hostname")
		}
	}
	return nil
}

func isSysctlSeparator(r rune) bool { return r == '.' || r == '/' }

// dotted returns a sysctl's name with "." between its components. Names may be written either way, sysctl(8): the first
// separator decides, and the other one is then part of a component.
func dotted(name string) string {
	i := strings.IndexFunc(name, isSysctlSeparator)
	if i < 0 || name[i] == '.' {
		return name
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(name)
}

// planSysctls takes out of the guest's spec what the container has no namespace for in the guest: the whole guest is
// the container's, so the agent may set it there, also what runc must refuse.
func (p *planner) planSysctls() {
	l := p.plan.Guest.Linux
	p.plan.GuestSysctls = map[string]string{}
	for name, value := range l.Sysctl {
		ns := sysctlNamespace(dotted(name))
		if ns == "" || findNamespace(l.Namespaces, ns) == nil {
			p.plan.GuestSysctls[name] = value
			delete(l.Sysctl, name)
		}
	}
}

// sysctlNamespace returns the namespace that a sysctl belongs to, of those that a container may have in the guest.
func sysctlNamespace(name string) specs.LinuxNamespaceType {
	ipc := []string{
		"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
		"kernel.shmmni", "kernel.shm_rmid_forced",
	}
	switch {
	case slices.Contains(ipc, name), strings.HasPrefix(name, "fs.mqueue."):
		return specs.IPCNamespace
	case name == "kernel.hostname", name == "kernel.domainname":
		return specs.UTSNamespace
	case strings.HasPrefix(name, "user."):
		return specs.UserNamespace
	default:
		return ""
	}
}
