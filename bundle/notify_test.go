package bundle

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func notifyBundle(t *testing.T, change func(*Bundle)) *Plan {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := &Bundle{Dir: dir, Spec: &specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: "rootfs"}, Process: &specs.Process{Args: []string{"x"}, Cwd: "/"},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.NetworkNamespace}}},
	}}
	change(b)
	plan, err := b.Plan(GuestDirs{Share: "/shared/c1", SharedMemory: "/shm", Notify: "/guest/c1"})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "notify.sock")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return dir
}

// Engines mount the directory of their socket, or the socket alone.
func TestPlanNotifyOfEngine(t *testing.T) {
	dir := socketDir(t)
	host := filepath.Join(dir, "notify.sock")
	for _, tc := range []struct{ source, destination, guest string }{
		{dir, "/run/notify", "/guest/c1"},
		{host, "/run/notify/notify.sock", "/guest/c1/notify.sock"},
	} {
		plan := notifyBundle(t, func(b *Bundle) {
			b.Spec.Process.Env = []string{"NOTIFY_SOCKET=/run/notify/notify.sock"}
			b.Spec.Mounts = []specs.Mount{{Destination: tc.destination, Source: tc.source, Type: "bind", Options: []string{"bind"}}}
		})
		if plan.Notify != (Notify{Name: "notify.sock", Host: host}) {
			t.Errorf("%+v", plan.Notify)
		}
		if got := plan.Guest.Mounts[0].Source; got != tc.guest || len(plan.Shares) != 0 {
			t.Errorf("source %q, shares %v", got, plan.Shares)
		}
	}
}

func TestPlanReadiness(t *testing.T) {
	plan := notifyBundle(t, func(b *Bundle) { b.Readiness = true })
	if plan.Notify != (Notify{Name: "notify.sock"}) {
		t.Errorf("%+v", plan.Notify)
	}
	m := plan.Guest.Mounts[len(plan.Guest.Mounts)-1]
	if m.Destination != "/run/notify" || m.Source != "/guest/c1" || !slices.Contains(m.Options, "ro") {
		t.Errorf("%+v", m)
	}
	if !slices.Contains(plan.Guest.Process.Env, "NOTIFY_SOCKET=/run/notify/notify.sock") {
		t.Error(plan.Guest.Process.Env)
	}
}

// Without a socket behind it the variable is any other variable, and the mount any other mount.
func TestPlanNoNotify(t *testing.T) {
	dir := t.TempDir()
	for _, env := range []string{"NOTIFY_SOCKET=/run/notify/notify.sock", "NOTIFY_SOCKET=@abstract", "X=y"} {
		plan := notifyBundle(t, func(b *Bundle) {
			b.Spec.Process.Env = []string{env}
			b.Spec.Mounts = []specs.Mount{{Destination: "/run/notify", Source: dir, Type: "bind", Options: []string{"bind"}}}
		})
		if plan.Notify != (Notify{}) || len(plan.Shares) != 1 {
			t.Errorf("%s: %+v, shares %v", env, plan.Notify, plan.Shares)
		}
	}
}
