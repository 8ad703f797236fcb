package bundle

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Notify is the socket through which a container says how it is (sd_notify(3)). A socket on the host cannot be reached
// from the guest: the guest has one of its own, and what arrives there is relayed.
type Notify struct {
	// Name is that of the socket in the guest's directory for it; empty: the container has none.
	Name string
	// Host is the host's socket that an engine has mounted; empty where the command that starts the container relays.
	Host string
}

// Where runc puts the socket, for a runtime that has NOTIFY_SOCKET in its environment.
const (
	notifyVariable = "NOTIFY_SOCKET"
	notifyDir      = "/run/notify"
	notifyName     = "notify.sock"
)

// planReadiness adds runc's mount and variable for a container whose readiness is relayed by whoever starts it.
func (p *planner) planReadiness() {
	if !p.bundle.Readiness || p.guest.Notify == "" {
		return
	}
	p.plan.Notify = Notify{Name: notifyName}
	p.place(notifyDir, true, nil)
	g := p.plan.Guest
	g.Mounts = append(g.Mounts, specs.Mount{
		Destination: notifyDir, Type: "bind", Source: p.guest.Notify,
		Options: []string{"bind", "nosuid", "noexec", "nodev", "ro"},
	})
	g.Process.Env = append(g.Process.Env, notifyVariable+"="+path.Join(notifyDir, notifyName))
}

// planNotify says whether a bind mount brings the socket of the process's NOTIFY_SOCKET, alone or in its directory, and
// then makes it a bind of the guest's.
func (p *planner) planNotify(source string, m *specs.Mount) bool {
	socket := p.notifySocket()
	if socket == "" || p.plan.Notify.Name != "" || p.guest.Notify == "" {
		return false
	}
	host, guest := "", p.guest.Notify
	switch m.Destination {
	case socket:
		host, guest = source, filepath.Join(guest, path.Base(socket))
	case path.Dir(socket):
		host = filepath.Join(source, path.Base(socket))
	default:
		return false
	}
	info, err := os.Stat(host)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	p.plan.Notify = Notify{Name: path.Base(socket), Host: host}
	p.place(m.Destination, m.Destination != socket, nil)
	*m = bindInGuest(m, guest)
	return true
}

// notifySocket is the path in the process's environment, or empty.
func (p *planner) notifySocket() string {
	env := p.bundle.Spec.Process.Env
	for i := len(env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(env[i], notifyVariable+"="); ok && path.IsAbs(value) {
			return path.Clean(value)
		}
	}
	return ""
}
