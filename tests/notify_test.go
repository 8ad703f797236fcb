//go:build e2e

package tests

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// receiver is a service manager's notify socket.
type receiver struct {
	t    *testing.T
	path string
	conn *net.UnixConn
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // t.TempDir() is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = conn.Close(), os.RemoveAll(dir) })
	return &receiver{t, path, conn}
}

// next waits for a datagram. A descriptor in it is dropped, as a service manager drops that of a barrier.
func (r *receiver) next() string {
	r.t.Helper()
	_ = r.conn.SetReadDeadline(time.Now().Add(limit))
	buf := make([]byte, 8192)
	n, err := r.conn.Read(buf)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(buf[:n])
}

// nothing checks that no datagram has come.
func (r *receiver) nothing() {
	r.t.Helper()
	_ = r.conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	buf := make([]byte, 8192)
	if n, err := r.conn.Read(buf); err == nil {
		r.t.Errorf("received %q", buf[:n])
	}
}

func (r *receiver) expect(want ...string) {
	r.t.Helper()
	for _, w := range want {
		if got := r.next(); got != w {
			r.t.Errorf("received %q, want %q", got, w)
		}
	}
}

// TestNotify: a container's word that it is ready reaches the service manager that has started runvm.
func TestNotify(t *testing.T) {
	// The file keeps the container from being ready before the test has looked.
	script := "while [ ! -e /go ]; do sleep 0.1; done; helper notify STATUS=starting 'READY=1\nSTATUS=up' STATUS=later; echo sent $NOTIFY_SOCKET; "
	open := func(t *testing.T, bundle string) {
		if err := os.WriteFile(filepath.Join(bundle, "rootfs", "go"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("detached", func(t *testing.T) {
		r, manager := newRuntime(t), newReceiver(t)
		bundle := helperBundle(t, []string{"sh", "-c", script + "sleep 1000"})
		env := []string{"NOTIFY_SOCKET=" + manager.path}
		create := r.startWith(t, env, nil, "create", "--bundle", bundle, "c1")
		if code := create.code(t); code != 0 {
			t.Fatal(code)
		}
		start := r.startWith(t, env, nil, "start", "c1")
		r.waitFor(t, "c1", "running")
		manager.nothing()
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", start.Process.Pid)); err != nil || strings.Contains(string(stat), ") Z ") {
			t.Errorf("start did not wait: %s, %v", stat, err)
		}
		open(t, bundle)
		manager.expect("READY=1\n", fmt.Sprintf("MAINPID=%d\n", r.state(t, "c1").PID), "BARRIER=1")
		if code := start.code(t); code != 0 {
			t.Errorf("start: code %d", code)
		}
		manager.nothing()
	})
	t.Run("attached", func(t *testing.T) {
		r, manager := newRuntime(t), newReceiver(t)
		bundle := helperBundle(t, []string{"sh", "-c", script + "exit 3"})
		open(t, bundle)
		run := r.startWith(t, []string{"NOTIFY_SOCKET=" + manager.path}, nil, "run", "--bundle", bundle, "c1")
		manager.expect("READY=1\n", fmt.Sprintf("MAINPID=%d\n", run.Process.Pid), "BARRIER=1")
		if code := run.code(t); code != 3 || !strings.Contains(run.out, "sent /run/notify/notify.sock\n") {
			t.Errorf("code %d, %q", code, run.out)
		}
	})
	t.Run("never ready", func(t *testing.T) {
		r, manager := newRuntime(t), newReceiver(t)
		run := r.startWith(t, []string{"NOTIFY_SOCKET=" + manager.path}, nil, "run", "--detach", "--bundle", newBundle(t, []string{"sleep", "1"}), "c1")
		if code := run.code(t); code != 0 {
			t.Errorf("code %d", code)
		}
		manager.nothing()
	})
}

// TestPodmanNotify: podman's two ways to tell a service manager.
func TestPodmanNotify(t *testing.T) {
	p, manager := newPodman(t), newReceiver(t)
	t.Setenv("NOTIFY_SOCKET", manager.path)
	helper := filepath.Join(helperBundle(t, []string{"true"}), "rootfs", "bin", "helper")
	p.must("run", "--detach", "--name", "c1", "--sdnotify=container", "--network", "none", "--volume", helper+":/bin/helper:ro", "busybox",
		"sh", "-c", "while [ ! -e /go ]; do sleep 0.1; done; helper notify READY=1; sleep 1000")
	conmon := p.must("inspect", "--format", "{{.State.ConmonPid}}", "c1")
	manager.expect("MAINPID=" + conmon)
	manager.nothing()
	p.must("exec", "c1", "touch", "/go")
	manager.expect("READY=1")
	p.must("run", "--detach", "--name", "c2", "--sdnotify=conmon", "--network", "none", "busybox", "sleep", "1000")
	conmon = p.must("inspect", "--format", "{{.State.ConmonPid}}", "c2")
	manager.expect("MAINPID=" + conmon + "\nREADY=1")
}
