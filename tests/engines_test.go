//go:build e2e

package tests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// engineMachine runs one containerd, and Docker on top of it, for all tests, on a machine of their own: see
// testdata/engines.sh.
type engineMachine struct {
	once  sync.Once
	dir   string
	hold  io.Closer // the daemons run until it is closed
	cmd   *exec.Cmd
	pid   string // of a process inside, seen from here
	image string // an archive of busybox for containerd
	err   error
}

var engines engineMachine

// programs of Debian's packages: another docker may come first in PATH.
const (
	dockerPath  = "/usr/bin/docker"
	composePath = "/usr/bin/docker-compose"
)

func (e *engineMachine) start() {
	if e.dir, e.err = os.MkdirTemp("", "runvm-engines-"); e.err != nil {
		return
	}
	steps := []func() error{e.configure, e.boot, e.importImages}
	for _, step := range steps {
		if e.err = step(); e.err != nil {
			e.err = fmt.Errorf("start the engines: %w\n%s", e.err, e.logs())
			return
		}
	}
}

// configure writes the daemons' configuration: for Docker what dist/ has for users.
func (e *engineMachine) configure() error {
	daemon, err := os.ReadFile("../dist/docker-daemon.json")
	if err != nil {
		return err
	}
	daemon = bytes.ReplaceAll(daemon, []byte("@PREFIX@/bin/runvm"), []byte(runvmPath))
	containerd := fmt.Sprintf(`version = 2
root = "%[1]s/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "%[1]s/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "%[1]s/opt"
`, e.dir)
	return errors.Join(
		os.WriteFile(filepath.Join(e.dir, "daemon.json"), daemon, 0o644),
		os.WriteFile(filepath.Join(e.dir, "containerd.toml"), []byte(containerd), 0o644),
	)
}

func (e *engineMachine) boot() error {
	e.cmd = exec.Command("testdata/engines.sh", e.dir)
	log, err := os.Create(filepath.Join(e.dir, "machine.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	e.cmd.Stdout, e.cmd.Stderr = log, log
	if e.hold, err = e.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := e.cmd.Start(); err != nil {
		return err
	}
	var out []byte
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		out, err = exec.Command(dockerPath, "--host", e.dockerHost(), "version").CombinedOutput()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("docker version: %w: %s", err, out)
		}
	}
	out, err = exec.Command("pgrep", "--parent", fmt.Sprint(e.cmd.Process.Pid)).Output()
	if e.pid = strings.TrimSpace(string(out)); err != nil || e.pid == "" {
		return fmt.Errorf("find the machine's first process: %q, %w", out, err)
	}
	return nil
}

func (e *engineMachine) dockerHost() string { return "unix://" + filepath.Join(e.dir, "docker.sock") }

// importImages gives Docker busybox and debian, and containerd the former, saved by Docker.
func (e *engineMachine) importImages() error {
	root := filepath.Join(e.dir, "busybox.tar")
	e.image = filepath.Join(e.dir, "image.tar")
	docker := []string{dockerPath, "--host", e.dockerHost()}
	for _, s := range [][]string{
		{"tar", "-C", busybox, "--exclude=.complete", "-cf", root, "."},
		append(docker, "import", root, "busybox"),
		append(docker, "import", debianTar, "debian"),
		append(docker, "save", "--output", e.image, "busybox"),
		append(e.inside(), "ctr", "--address", filepath.Join(e.dir, "containerd.sock"), "image", "import", e.image),
	} {
		if out, err := exec.Command(s[0], s[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(s, " "), err, out)
		}
	}
	return nil
}

// inside is the beginning of a command that runs on the machine.
func (e *engineMachine) inside() []string {
	return []string{"nsenter", "--target", e.pid, "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--"}
}

// logs is what the daemons complained about.
func (e *engineMachine) logs() string {
	var all strings.Builder
	for _, name := range []string{"machine.log", "containerd.log", "dockerd.log"} {
		data, _ := os.ReadFile(filepath.Join(e.dir, name))
		fmt.Fprintf(&all, "%s:\n%s\n", name, tail(string(data)))
	}
	return all.String()
}

// remove ends the machine and removes its files and cgroups.
func (e *engineMachine) remove() error {
	if e.dir == "" {
		return nil
	}
	if e.hold != nil {
		_ = e.hold.Close()
		_ = e.cmd.Wait()
	}
	// All mounts were in a namespace that is gone: what is left are plain files.
	return errors.Join(e.removeCgroups(), os.RemoveAll(e.dir))
}

func (e *engineMachine) removeCgroups() error {
	list, err := os.ReadFile(filepath.Join(e.dir, "hierarchies"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line)
		out, err := exec.Command("find", fields[len(fields)-1], "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").CombinedOutput()
		if err != nil || len(out) > 0 {
			errs = append(errs, fmt.Errorf("remove the machine's cgroups: %s, %w", out, err))
		}
	}
	return errors.Join(errs...)
}

// engineTest is one test on the machine, which must leave nothing behind, neither here nor there.
type engineTest struct{ t *testing.T }

func newEngineTest(t *testing.T, clean func(*engineTest)) *engineTest {
	t.Helper()
	engines.once.Do(engines.start)
	if engines.err != nil {
		t.Fatal(engines.err)
	}
	e := &engineTest{t}
	before, inside := observe(t), e.observe()
	t.Cleanup(func() {
		clean(e)
		before.assertSame(t)
		var left string
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			if left = cmp.Diff([]string(nil), added(inside, e.observe())); left == "" || time.Now().After(deadline) {
				break
			}
		}
		if left != "" {
			t.Errorf("something was left behind on the engines' machine (+):\n%s", left)
		}
		if t.Failed() {
			t.Log(engines.logs())
		}
	})
	return e
}

// observe lists what a container could leave behind on the machine: mounts, links, cgroups, records of runvm. What the
// daemons themselves keep from their first container on is left out.
func (e *engineTest) observe() []string {
	e.t.Helper()
	out, err := e.command("sh", "-c", `cut -d " " -f 5 /proc/self/mountinfo; ls /proc/sys/net/ipv4/conf
		find /sys/fs/cgroup -mindepth 2 -type d; find /run -name state.json`).Output()
	if err != nil {
		e.t.Fatal(err)
	}
	list := strings.Fields(string(out))
	return slices.DeleteFunc(list, func(name string) bool {
		return name == "/run/docker/netns/default" ||
			strings.HasPrefix(name, "/sys/fs/cgroup/") && slices.Contains([]string{"docker", "default"}, filepath.Base(name))
	})
}

// command is a command on the machine that has yet to be run.
func (e *engineTest) command(args ...string) *exec.Cmd {
	all := append(engines.inside(), args...)
	return exec.Command(all[0], all[1:]...)
}

// run runs a command on the machine.
func (e *engineTest) run(args ...string) result {
	e.t.Helper()
	all := append(engines.inside(), args...)
	return command(e.t, "", all[0], all[1:]...)
}

// await runs a command on the machine until its output contains want.
func (e *engineTest) await(want string, args ...string) {
	e.t.Helper()
	var out []byte
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if out, _ = e.command(args...).CombinedOutput(); strings.Contains(string(out), want) {
			return
		}
	}
	e.t.Fatalf("%s: %q, want it to contain %q", strings.Join(args, " "), out, want)
}
