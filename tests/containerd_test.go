//go:build e2e

package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ctrTest runs containerd's client for one test.
type ctrTest struct{ *engineTest }

func newCtr(t *testing.T) ctrTest {
	t.Helper()
	return ctrTest{newEngineTest(t, func(e *engineTest) {
		c := ctrTest{e}
		for _, id := range strings.Fields(c.ctr("task", "list", "--quiet").stdout) {
			c.ctr("task", "delete", "--force", id)
		}
		for _, id := range strings.Fields(c.ctr("container", "list", "--quiet").stdout) {
			c.ctr("container", "delete", id)
		}
	})}
}

// ctr runs containerd's client, which meets the shim at named pipes: on the engines' machine.
func (c ctrTest) ctr(args ...string) result {
	c.t.Helper()
	return c.run(append([]string{"ctr", "--address", filepath.Join(engines.dir, "containerd.sock")}, args...)...)
}

func (c ctrTest) expect(code int, want string, args ...string) {
	c.t.Helper()
	if r := c.ctr(args...); r.code != code || !strings.Contains(r.stdout+r.stderr, want) {
		c.t.Errorf("ctr %s: code %d, %q, %q; want %d and %q", strings.Join(args, " "), r.code, r.stdout, r.stderr, code, want)
	}
}

func (c ctrTest) await(want string, args ...string) {
	c.t.Helper()
	c.engineTest.await(want, append([]string{"ctr", "--address", filepath.Join(engines.dir, "containerd.sock")}, args...)...)
}

// ctrImage is what docker import calls the image that is given to containerd.
const ctrImage = "docker.io/library/busybox:latest"

// TestContainerdRun: output and exit codes of the foreground, and a program that is missing.
func TestContainerdRun(t *testing.T) {
	c := newCtr(t)
	c.expect(3, "hello\n", "run", "--rm", "--runc-binary", runvmPath, "--memory-limit", "104857600", ctrImage, "foreground",
		"sh", "-c", "echo hello; exit 3")
	c.expect(1, `exec: "nosuchprogram": executable file not found in $PATH`, "run", "--rm", "--runc-binary", runvmPath, ctrImage, "missing", "nosuchprogram")
}

// TestContainerdTask goes through what containerd's runc shim asks of a runtime.
func TestContainerdTask(t *testing.T) {
	c := newCtr(t)
	script := "trap 'exit 9' TERM; while :; do sleep 1 & wait $!; done"
	c.expect(0, "", "run", "--detach", "--runc-binary", runvmPath, ctrImage, "task", "sh", "-c", script)
	c.expect(5, "in a VM\n", "task", "exec", "--exec-id", "e1", "task", "sh", "-c", "echo in a VM; exit 5")
	c.expect(0, "", "task", "exec", "--detach", "--exec-id", "background", "task", "sleep", "1000")
	if r := c.ctr("task", "ps", "task"); len(strings.Split(strings.TrimSpace(r.stdout), "\n")) != 3 || !strings.Contains(r.stdout, "background") {
		t.Errorf("ps: %q, want init and the process of exec", r.stdout)
	}
	if r := c.ctr("task", "metrics", "task"); !strings.Contains(r.stdout, "memory") || !strings.Contains(r.stdout, "cpu") {
		t.Errorf("metrics: %+v", r)
	}
	c.expect(0, "", "task", "pause", "task")
	c.expect(0, "PAUSED", "task", "list")
	c.expect(0, "", "task", "resume", "task")
	c.expect(0, "RUNNING", "task", "list")
	c.expect(0, "", "task", "kill", "--signal", "TERM", "task")
	c.await("STOPPED", "task", "list")
	c.expect(0, "code 9", "task", "delete", "task")
	c.expect(0, "", "container", "delete", "task")
}

// TestContainerdKillAll: KILL to all processes.
func TestContainerdKillAll(t *testing.T) {
	c := newCtr(t)
	c.expect(0, "", "run", "--detach", "--runc-binary", runvmPath, ctrImage, "killed", "sh", "-c", "sleep 1000 & trap '' TERM; wait")
	c.expect(0, "", "task", "kill", "--all", "--signal", "KILL", "killed")
	c.await("STOPPED", "task", "list")
	c.expect(0, "code 137", "task", "delete", "killed")
}

// TestContainerdDropIn: containerd understands the file in dist/.
func TestContainerdDropIn(t *testing.T) {
	dir := t.TempDir()
	template, err := os.ReadFile("../dist/containerd.toml")
	if err != nil {
		t.Fatal(err)
	}
	dropIn, config := filepath.Join(dir, "runvm.toml"), filepath.Join(dir, "config.toml")
	if err := os.WriteFile(dropIn, []byte(strings.ReplaceAll(string(template), "@PREFIX@", "/prefix")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("version = 2\nimports = [\""+dropIn+"\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := command(t, "", "containerd", "--config", config, "config", "dump")
	if r.code != 0 || !strings.Contains(r.stdout, `BinaryName = "/prefix/bin/runvm"`) || !strings.Contains(r.stdout, "runtimes.runvm.options]") {
		t.Errorf("%+v", r)
	}
}
