//go:build e2e

package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestHooks: the host's hooks run where they belong, with the state on their standard input.
func TestHooks(t *testing.T) {
	r := newRuntime(t)
	log := filepath.Join(t.TempDir(), "log")
	hook := func(name string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo " + name + " $(cat) >> " + log}}}
	}
	bundle := newBundle(t, []string{"true"}, func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: hook("createRuntime"), Poststart: hook("poststart"), Poststop: hook("poststop")}
	})
	r.must(t, "create", "--bundle", bundle, "c1")
	pid := r.state(t, "c1").PID
	r.must(t, "start", "c1")
	r.waitFor(t, "c1", "stopped")
	r.must(t, "delete", "c1")
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	want := []struct {
		name, status string
		pid          int
	}{{"createRuntime", "creating", pid}, {"poststart", "running", pid}, {"poststop", "stopped", 0}}
	if len(lines) != len(want) {
		t.Fatalf("hooks wrote %q", lines)
	}
	for i, w := range want {
		name, text, _ := strings.Cut(lines[i], " ")
		var s specs.State
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		if name != w.name || string(s.Status) != w.status || s.Pid != w.pid || s.ID != "c1" || s.Bundle != bundle {
			t.Errorf("hook %d: %s %+v, want %+v", i, name, s, w)
		}
	}
}

// TestFailingHook: a hook that fails takes the whole create back.
func TestFailingHook(t *testing.T) {
	r := newRuntime(t)
	bundle := newBundle(t, []string{"true"}, func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo because >&2; exit 3"}}}}
	})
	got := r.run(t, "create", "--bundle", bundle, "c1")
	if got.code != 1 || !strings.Contains(got.stderr, "error running createRuntime hook #0") || !strings.Contains(got.stderr, "because") {
		t.Errorf("%+v", got)
	}
}

// TestFoundWithoutRoot: podman 4.3 asks for a container's state without the --root that it was created with.
func TestFoundWithoutRoot(t *testing.T) {
	r := newRuntime(t)
	id := "found-without-root"
	r.must(t, "create", "--bundle", newBundle(t, []string{"true"}), id)
	if got := command(t, "", runvmPath, "state", id); got.code != 0 || !strings.Contains(got.stdout, `"created"`) {
		t.Errorf("state without --root: %+v", got)
	}
	r.must(t, "delete", "--force", id)
	if got := command(t, "", runvmPath, "state", id); got.code != 1 || !strings.Contains(got.stderr, "does not exist") {
		t.Errorf("state after delete: %+v", got)
	}
}

// TestUserNamespace: ids are mapped in the guest.
func TestUserNamespace(t *testing.T) {
	r := newRuntime(t)
	mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	bundle := newBundle(t, []string{"sh", "-c", "id -u; cat /proc/self/uid_map; touch /tmp/mine; ls /sys/class/net"}, func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings, s.Linux.GIDMappings = mapping, mapping
	})
	got := r.run(t, "run", "--bundle", bundle, "c1")
	if fields := strings.Fields(got.stdout); got.code != 0 || len(fields) != 5 || strings.Join(fields, " ") != "0 0 100000 65536 lo" {
		t.Errorf("%+v", got)
	}
	info, err := os.Stat(filepath.Join(bundle, "rootfs", "tmp", "mine"))
	if err != nil {
		t.Fatal(err)
	}
	if uid := ownerOf(info); uid != 100000 {
		t.Errorf("the file belongs to %d, want 100000", uid)
	}
}

// TestCompleteOutput: nothing that a process wrote before its end is lost, on either stream.
func TestCompleteOutput(t *testing.T) {
	r := newRuntime(t)
	const size = 5_000_000
	script := "head -c 5000000 /dev/zero | tr '\\0' o; head -c 5000000 /dev/zero | tr '\\0' e >&2"
	r.must(t, "run", "--detach", "--bundle", newBundle(t, []string{"sleep", "1000"}), "c1")
	got := r.run(t, "exec", "c1", "sh", "-c", script)
	if got.stdout != strings.Repeat("o", size) || got.stderr != strings.Repeat("e", size) {
		t.Errorf("%d and %d bytes arrived, want %d each", len(got.stdout), len(got.stderr), size)
	}
}

// TestKillAll reaches every process of a container, and is no error when there is none.
func TestKillAll(t *testing.T) {
	r := newRuntime(t)
	r.must(t, "run", "--detach", "--bundle", newBundle(t, []string{"sh", "-c", "sleep 1000 & sleep 1000 & wait"}), "c1")
	r.must(t, "kill", "--all", "c1", "KILL")
	r.waitFor(t, "c1", "stopped")
	r.must(t, "kill", "--all", "c1", "KILL")
}

// TestKilledExec: killing the process that stands for an exec on the host ends the process in the guest.
func TestKilledExec(t *testing.T) {
	r := newRuntime(t)
	r.must(t, "run", "--detach", "--bundle", newBundle(t, []string{"sleep", "1000"}), "c1")
	pidFile := filepath.Join(t.TempDir(), "pid")
	r.must(t, "exec", "--detach", "--pid-file", pidFile, "c1", "sleep", "777")
	find := []string{"exec", "c1", "sh", "-c", "ps -o args | grep -c '^sleep 777'"}
	if got := r.run(t, find...); got.stdout != "1\n" {
		t.Fatalf("before: %q", got.stdout)
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	command(t, "", "kill", "-KILL", string(pid))
	for deadline := time.Now().Add(time.Minute); r.run(t, find...).stdout != "0\n"; {
		if time.Now().After(deadline) {
			t.Fatal("the guest's process lives on")
		}
	}
}

// TestStatusWhileBusy: state and list wait for nobody, not even for a create at work.
func TestStatusWhileBusy(t *testing.T) {
	r := newRuntime(t)
	bundle := newBundle(t, []string{"true"})
	var create sync.WaitGroup
	create.Go(func() { r.run(t, "create", "--bundle", bundle, "c1") })
	seen := map[string]bool{}
	for deadline := time.Now().Add(limit); !seen["created"] && time.Now().Before(deadline); {
		var list []state
		_ = json.Unmarshal([]byte(r.run(t, "list", "--format", "json").stdout), &list) // no directory yet: no list
		for _, c := range list {
			seen[c.Status] = true
		}
	}
	create.Wait()
	if !seen["creating"] || !seen["created"] {
		t.Errorf("list showed %v, want creating and created", seen)
	}
}

// TestPause: a paused container does nothing, says so, and can be killed.
func TestPause(t *testing.T) {
	r := newRuntime(t)
	bundle := newBundle(t, []string{"sh", "-c", "while :; do echo x >> /count; sleep 0.2; done"})
	r.must(t, "run", "--detach", "--bundle", bundle, "c1")
	count := func() int64 {
		info, err := os.Stat(filepath.Join(bundle, "rootfs", "count"))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	grows := func(within time.Duration) bool {
		before := count()
		for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if count() > before {
				return true
			}
		}
		return false
	}
	if !grows(time.Minute) {
		t.Fatal("the process does nothing")
	}
	if got := r.run(t, "resume", "c1"); got.code != 1 || !strings.Contains(got.stderr, "container not paused") {
		t.Errorf("resume of a running container: %+v", got)
	}
	r.must(t, "pause", "c1")
	if status := r.status(t, "c1"); status != "paused" {
		t.Errorf("status %q", status)
	}
	if grows(2 * time.Second) {
		t.Error("a paused container goes on")
	}
	if got := r.run(t, "exec", "c1", "true"); got.code != 255 || !strings.Contains(got.stderr, "cannot exec in a paused container") {
		t.Errorf("exec: %+v", got)
	}
	if got := r.run(t, "pause", "c1"); got.code != 1 || !strings.Contains(got.stderr, "container not running") {
		t.Errorf("second pause: %+v", got)
	}
	r.must(t, "resume", "c1")
	if !grows(time.Minute) {
		t.Error("the process did not go on")
	}
	r.must(t, "pause", "c1")
	r.must(t, "kill", "c1", "KILL")
	r.waitFor(t, "c1", "stopped")
}

// TestPs lists the guest's processes.
func TestPs(t *testing.T) {
	r := newRuntime(t)
	r.must(t, "run", "--detach", "--bundle", newBundle(t, []string{"sh", "-c", "sleep 1000 & wait"}), "c1")
	var lines []string
	// The shell's child shows the shell's arguments until it executes sleep.
	complete := func() bool { return len(lines) == 3 && strings.HasSuffix(lines[2], " sleep 1000") }
	for deadline := time.Now().Add(time.Minute); !complete() && time.Now().Before(deadline); {
		lines = strings.Split(strings.TrimSpace(r.must(t, "ps", "c1")), "\n")
	}
	if !complete() || !strings.HasPrefix(lines[0], "UID") {
		t.Errorf("ps printed %q", lines)
	}
	var pids []int
	// Engines look for these pids on the host.
	if err := json.Unmarshal([]byte(r.must(t, "ps", "--format", "json", "c1")), &pids); err != nil || len(pids) != 1 || pids[0] != r.state(t, "c1").PID {
		t.Errorf("pids %v, %v; want the shim's, %d", pids, err, r.state(t, "c1").PID)
	}
	if got := strings.Fields(r.must(t, "ps", "c1", "-o", "pid,comm")); len(got) != 6 || got[1] != "COMMAND" || got[3] != "sh" || got[5] != "sleep" {
		t.Errorf("ps -o pid,comm printed %q", got)
	}
}
