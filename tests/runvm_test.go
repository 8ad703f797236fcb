//go:build e2e

package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// limit bounds every command of the tests: generous, since a loaded machine without KVM is slow.
const limit = 3 * time.Minute

// result is what a command left.
type result struct {
	stdout, stderr string
	code           int
}

// command runs a program and prints it when the test fails.
func command(t *testing.T, stdin string, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &stdout, &stderr
	// A process that keeps the pipes open must not hang the test.
	c.WaitDelay = 5 * time.Second
	err := c.Run()
	r := result{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Errorf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	t.Logf("$ %s %s\ncode %d\nstdout: %s\nstderr: %s", filepath.Base(name), strings.Join(args, " "), r.code, tail(r.stdout), tail(r.stderr))
	return r
}

func tail(s string) string {
	if len(s) > 2000 {
		return "..." + s[len(s)-2000:]
	}
	return s
}

// runtime is runvm with a state directory of the test's own.
type runtime struct {
	root string
	env  []string
}

func newRuntime(t *testing.T) *runtime {
	t.Helper()
	before := observe(t)
	r := &runtime{root: filepath.Join(t.TempDir(), "state")}
	t.Cleanup(func() {
		entries, _ := os.ReadDir(r.root)
		for _, e := range entries {
			r.run(t, "delete", "--force", e.Name())
		}
		before.assertSame(t)
	})
	return r
}

func (r *runtime) run(t *testing.T, args ...string) result {
	t.Helper()
	return r.runWith(t, "", args...)
}

func (r *runtime) runWith(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	all := append([]string{"--root", r.root}, args...)
	if len(r.env) > 0 {
		return command(t, stdin, "env", append(append(r.env, runvmPath), all...)...)
	}
	return command(t, stdin, runvmPath, all...)
}

// must runs a command that has to succeed and returns its standard output.
func (r *runtime) must(t *testing.T, args ...string) string {
	t.Helper()
	got := r.run(t, args...)
	if got.code != 0 {
		t.Fatalf("runvm %s: code %d: %s", strings.Join(args, " "), got.code, got.stderr)
	}
	return got.stdout
}

// status is a container's state in the words of "runvm state".
func (r *runtime) status(t *testing.T, id string) string {
	t.Helper()
	return r.state(t, id).Status
}

type state struct {
	Version string `json:"ociVersion"`
	ID      string `json:"id"`
	PID     int    `json:"pid"`
	Status  string `json:"status"`
	Bundle  string `json:"bundle"`
	Rootfs  string `json:"rootfs"`
	Created string `json:"created"`
}

func (r *runtime) state(t *testing.T, id string) state {
	t.Helper()
	var s state
	if err := json.Unmarshal([]byte(r.must(t, "state", id)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// waitFor waits until a container has the given status. State is what an engine polls; so do we.
func (r *runtime) waitFor(t *testing.T, id, status string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		if r.status(t, id) == status {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("container %s did not become %s within %v", id, status, limit)
}

// newBundle makes a bundle with a busybox root of its own whose process is args; change edits the configuration.
func newBundle(t *testing.T, args []string, change ...func(*specs.Spec)) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("cp", "-a", busybox, filepath.Join(dir, "rootfs")).CombinedOutput(); err != nil {
		t.Fatalf("copy the root file system: %v: %s", err, out)
	}
	spec := exampleSpec(args)
	for _, f := range change {
		f(spec)
	}
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// exampleSpec is close to what engines write: default capabilities, mounts, masked paths and namespaces.
func exampleSpec(args []string) *specs.Spec {
	caps := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",
		"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
	mount := func(destination, kind string, options ...string) specs.Mount {
		return specs.Mount{Destination: destination, Type: kind, Source: kind, Options: options}
	}
	return &specs.Spec{
		Version:  "1.0.2",
		Hostname: "guest",
		Root:     &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/root"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts: []specs.Mount{
			mount("/proc", "proc", "nosuid", "noexec", "nodev"),
			mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
			mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
			mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
			mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
			mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
			mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
			},
			MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}
