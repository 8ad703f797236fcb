package pod

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/internal/namespace"
)

// checkJoins refuses namespaces of containers in another virtual machine, or in none. It returns the names of those in
// the guest that are shared although shims do not share them.
func checkJoins(all []*container.Sandbox, found *container.Sandbox, r Request) (guest map[namespace.Kind]string, err error) {
	guest = map[namespace.Kind]string{}
	for kind, path := range r.Join {
		id, err := namespace.ID(path)
		if err != nil {
			return nil, err
		}
		s, member := ownerAmong(all, kind, id, path)
		switch {
		case s == nil:
			// Engines make namespaces that nobody is in for a pod whose containers come later.
			if pid := stranger(kind, id); pid != 0 {
				return nil, fmt.Errorf("the %s namespace %s is in use by process %d, which is in no virtual machine: "+
					"make all containers of a pod with runvm (podman --runtime runvm pod create), or give the container one of "+
					"its own", kind, path, pid)
			}
			guest[kind] = id
		case found == nil || s.Name != found.Name:
			return nil, fmt.Errorf("the %s namespace %s belongs to container %s, whose virtual machine the container does "+
				"not join: share its network namespace, too", kind, path, member)
		default:
			guest[kind] = s.Members[member].Guest[string(kind)]
		}
	}
	for _, kind := range []namespace.Kind{namespace.IPC, namespace.UTS} {
		delete(guest, kind)
	}
	return guest, nil
}

// stranger returns a process in the namespace that is no shim, 0 if there is none. The shims of containers that are being
// created at the same time are in no record yet.
func stranger(kind namespace.Kind, id string) int {
	own, err := os.Stat("/proc/self/exe")
	for _, pid := range namespace.Users(kind, id) {
		program, statErr := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
		if err != nil || statErr != nil || !os.SameFile(own, program) {
			return pid
		}
	}
	return 0
}

// ownerAmong returns the sandbox with a living member that has the namespace, and that member.
func ownerAmong(all []*container.Sandbox, kind namespace.Kind, id, path string) (*container.Sandbox, string) {
	for _, s := range all {
		member := owner(s, kind, id)
		if kind == namespace.User {
			member = ownerByPath(s, path)
		}
		if member != "" {
			return s, member
		}
	}
	return nil, ""
}

// owner returns a living member of the sandbox that has the namespace.
func owner(s *container.Sandbox, kind namespace.Kind, id string) string {
	for member, m := range s.Members {
		if m.Namespaces[string(kind)] == id && m.Shim.Alive() {
			return member
		}
	}
	return ""
}

// ownerByPath returns the living member whose shim has the file in /proc. Shims are all in the host's user namespace, so
// the path alone says whose is meant. A namespace that an engine has made is nobody's.
func ownerByPath(s *container.Sandbox, path string) string {
	rest, inProc := strings.CutPrefix(path, "/proc/")
	text, _, _ := strings.Cut(rest, "/")
	pid, err := strconv.Atoi(text)
	if !inProc || err != nil {
		return ""
	}
	for member, m := range s.Members {
		if m.Shim.PID == pid && m.Shim.Alive() && m.Guest[string(namespace.User)] != "" {
			return member
		}
	}
	return ""
}
