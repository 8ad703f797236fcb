//go:build e2e

package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestForeignCgroup: a cgroup with processes in it is somebody else's: refused, and nobody in it is harmed.
func TestForeignCgroup(t *testing.T) {
	r := newRuntime(t)
	dir := "/sys/fs/cgroup/memory/runvm-foreign"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		dir = "/sys/fs/cgroup/runvm-foreign"
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(other.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/runvm-foreign": "container's cgroup is not empty", "/": "root cgroup"} {
		bundle := newBundle(t, []string{"true"}, func(s *specs.Spec) { s.Linux.CgroupsPath = path })
		if got := r.run(t, "run", "--bundle", bundle, "c1"); got.code != 1 || !strings.Contains(got.stderr, want) {
			t.Errorf("cgroupsPath %s: %+v", path, got)
		}
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other process is gone: %v", err)
	}
}

// TestLimits: values that the kernel refuses leave nothing behind, values that mean "none" are none.
func TestLimits(t *testing.T) {
	r := newRuntime(t)
	for _, tc := range []struct {
		name  string
		limit int64
		code  int
	}{{"negative", -5, 1}, {"the kernel's own no limit", 9223372036854771712, 0}, {"2^62", 1 << 62, 0}} {
		bundle := newBundle(t, []string{"cat", "/sys/fs/cgroup/memory.max"}, withCgroup("limits"), func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &tc.limit}}
		})
		if got := r.run(t, "run", "--bundle", bundle, "c1"); got.code != tc.code {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
}

// TestLateFailures: a create that fails when all but its last steps are done takes everything back, and quickly.
func TestLateFailures(t *testing.T) {
	r := newRuntime(t)
	terminal := func(s *specs.Spec) { s.Process.Terminal = true }
	for _, tc := range []struct {
		bundle string
		flags  []string
	}{
		{newBundle(t, []string{"sleep", "1000"}), []string{"--pid-file", "/no/such/directory/pid"}},
		{newBundle(t, []string{"sleep", "1000"}, terminal), []string{"--console-socket", "/no/such/socket"}},
	} {
		started := time.Now()
		got := r.run(t, append(append([]string{"create", "--bundle", tc.bundle}, tc.flags...), "c1")...)
		if got.code != 1 || !strings.Contains(got.stderr, "no such file or directory") {
			t.Errorf("%v: %+v", tc.flags, got)
		}
		t.Logf("%v: %v", tc.flags, time.Since(started))
		if got := r.must(t, "list", "--quiet"); got != "" {
			t.Errorf("%v: containers left: %q", tc.flags, got)
		}
	}
}

// TestDeleteWhileCreating: delete refuses a container in the making, and with --force ends the create that makes it.
func TestDeleteWhileCreating(t *testing.T) {
	r := newRuntime(t)
	mark := filepath.Join(t.TempDir(), "hook-runs")
	bundle := newBundle(t, []string{"true"}, func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "touch " + mark + "; exec sleep 2"}}}}
	})
	create := exec.Command(runvmPath, "--root", r.root, "create", "--bundle", bundle, "c1")
	if err := create.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(mark); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if got := r.run(t, "delete", "c1"); got.code != 1 || !strings.Contains(got.stderr, "not stopped: creating") {
		t.Errorf("delete: %+v", got)
	}
	r.must(t, "delete", "--force", "c1")
	if err := create.Wait(); err == nil {
		t.Error("create came to its end")
	}
	if got := r.must(t, "list", "--quiet"); got != "" {
		t.Errorf("containers left: %q", got)
	}
}
