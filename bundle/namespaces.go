package bundle

import (
	"fmt"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// NetNS is the network namespace whose interfaces the virtual machine takes.
type NetNS struct {
	Path string // of an existing namespace; empty for a new one
	New  bool   // the container wants a new namespace: it has a loopback interface only
	Host bool   // the container wants the host's network; see ErrHostNetwork
}

// procName returns a namespace type's file name in /proc/PID/ns, namespaces(7).
func procName(t specs.LinuxNamespaceType) (string, bool) {
	switch t {
	case specs.NetworkNamespace:
		return "net", true
	case specs.MountNamespace:
		return "mnt", true
	case specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.UserNamespace, specs.CgroupNamespace,
		specs.TimeNamespace:
		return string(t), true
	default:
		return "", false
	}
}

func findNamespace(list []specs.LinuxNamespace, t specs.LinuxNamespaceType) *specs.LinuxNamespace {
	i := slices.IndexFunc(list, func(ns specs.LinuxNamespace) bool { return ns.Type == t })
	if i < 0 {
		return nil
	}
	return &list[i]
}

// planNamespaces leaves in the guest's spec the namespaces that the container has for itself there. A namespace that
// the container shares with the host is, in the virtual machine, the one of the guest's own system.
func (p *planner) planNamespaces() error {
	l := p.plan.Guest.Linux
	switch ns := findNamespace(l.Namespaces, specs.NetworkNamespace); {
	case ns == nil:
		p.plan.NetNS = NetNS{Host: true}
	default:
		p.plan.NetNS = NetNS{Path: ns.Path, New: ns.Path == ""}
	}
	var keep []specs.LinuxNamespace
	for _, ns := range l.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			continue
		}
		if ns.Path == "" {
			keep = append(keep, ns)
			continue
		}
		host, err := isHostNamespace(ns)
		if err != nil {
			return err
		}
		switch {
		// Of a user namespace engines give the mappings, too: the path may be that of a shim, which is in the host's.
		case ns.Type == specs.UserNamespace && len(l.UIDMappings) > 0, !host && isSharable(ns.Type):
			p.plan.Join[ns.Type] = ns.Path
			keep = append(keep, specs.LinuxNamespace{Type: ns.Type})
		case !host, ns.Type == specs.MountNamespace:
			return unsupportedf("joining the %s namespace %s of another container is not supported yet: "+
				"give the container a %s namespace of its own", ns.Type, ns.Path, ns.Type)
		}
	}
	// Engines on a cgroup v1 host leave the cgroup namespace out. The guest has cgroup v2, where the container's limits
	// are expected at the top of /sys/fs/cgroup; the guest's own cgroups are nobody's business.
	if findNamespace(keep, specs.CgroupNamespace) == nil {
		keep = append(keep, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	l.Namespaces = keep
	if findNamespace(keep, specs.UTSNamespace) == nil {
		p.plan.Guest.Hostname, p.plan.Guest.Domainname = "", ""
	}
	if findNamespace(keep, specs.UserNamespace) == nil {
		l.UIDMappings, l.GIDMappings = nil, nil
	}
	return nil
}

// isSharable says whether containers in one virtual machine can have a namespace of this type together.
func isSharable(t specs.LinuxNamespaceType) bool {
	return t == specs.IPCNamespace || t == specs.UTSNamespace || t == specs.PIDNamespace
}

// IsolateNetwork gives the container a network namespace of its own in a guest whose network belongs to others.
func (p *Plan) IsolateNetwork() {
	l := p.Guest.Linux
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	for name, value := range p.GuestSysctls {
		if !strings.HasPrefix(dotted(name), "net.") {
			continue
		}
		if l.Sysctl == nil {
			l.Sysctl = map[string]string{}
		}
		l.Sysctl[name] = value
		delete(p.GuestSysctls, name)
	}
}

// isHostNamespace says whether the path leads to a namespace of the host's, seen from here or from its init process.
func isHostNamespace(ns specs.LinuxNamespace) (bool, error) {
	info, err := os.Stat(ns.Path)
	if err != nil {
		return false, fmt.Errorf("namespace path: %w", err)
	}
	name, _ := procName(ns.Type)
	for _, pid := range []string{"self", "1"} {
		own, err := os.Stat("/proc/" + pid + "/ns/" + name)
		if err == nil && os.SameFile(info, own) {
			return true, nil
		}
	}
	return false, nil
}
