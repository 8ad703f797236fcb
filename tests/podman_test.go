//go:build e2e

package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// podman is a podman whose storage, state and networks are the tests' own.
type podman struct {
	once sync.Once
	dir  string
	err  error
}

// engine is shared by the tests: importing an image takes longer than a test.
var engine podman

// flags are podman's global flags.
func (p *podman) flags() []string {
	return []string{
		"--root", filepath.Join(p.dir, "root"), "--runroot", filepath.Join(p.dir, "runroot"),
		"--tmpdir", filepath.Join(p.dir, "tmp"), "--network-config-dir", filepath.Join(p.dir, "networks"),
		"--cgroup-manager", "cgroupfs", "--events-backend", "file", "--storage-driver", "overlay",
		"--network-backend", "netavark", "--runtime", runvmPath,
	}
}

// prepare imports the two images, once.
func (p *podman) prepare() {
	if p.dir, p.err = os.MkdirTemp("", "runvm-podman-"); p.err != nil {
		return
	}
	archive := filepath.Join(p.dir, "busybox.tar")
	steps := [][]string{
		{"tar", "-C", busybox, "--exclude=.complete", "-cf", archive, "."},
		append(append([]string{"podman"}, p.flags()...), "import", "-q", archive, "busybox"),
		append(append([]string{"podman"}, p.flags()...), "import", "-q", debianTar, "debian"),
	}
	for _, s := range steps {
		if out, err := exec.Command(s[0], s[1:]...).CombinedOutput(); err != nil {
			p.err = fmt.Errorf("%s: %w: %s", strings.Join(s, " "), err, out)
			return
		}
	}
}

// remove deletes everything that the tests' podman has made.
func (p *podman) remove() error {
	if p.dir == "" {
		return nil
	}
	args := append(p.flags(), "system", "reset", "--force")
	// conmon may still run podman's own clean-up of the last container, which writes to what reset removes.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		out, err := exec.Command("podman", args...).CombinedOutput()
		if err == nil {
			return os.RemoveAll(p.dir)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("podman system reset: %w: %s", err, out)
		}
	}
}

// newPodman returns a podman for one test, which must leave nothing behind.
func newPodman(t *testing.T) *podmanTest {
	t.Helper()
	engine.once.Do(engine.prepare)
	if engine.err != nil {
		t.Fatal(engine.err)
	}
	before := observe(t)
	p := &podmanTest{t: t}
	t.Cleanup(func() {
		p.run("rm", "--all", "--force", "--time", "0", "--volumes")
		p.run("network", "prune", "--force")
		before.assertSame(t)
	})
	return p
}

// podmanTest runs podman for one test.
type podmanTest struct{ t *testing.T }

func (p *podmanTest) run(args ...string) result { p.t.Helper(); return p.runWith("", args...) }

func (p *podmanTest) runWith(stdin string, args ...string) result {
	p.t.Helper()
	return command(p.t, stdin, "podman", append(engine.flags(), args...)...)
}

// must runs a command that has to succeed and returns its trimmed standard output.
func (p *podmanTest) must(args ...string) string {
	p.t.Helper()
	r := p.run(args...)
	if r.code != 0 {
		p.t.Fatalf("podman %s: code %d: %s", strings.Join(args, " "), r.code, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// expect runs a command and compares its exit code and, unless want is empty, what its standard output contains.
func (p *podmanTest) expect(code int, want string, args ...string) result {
	p.t.Helper()
	r := p.run(args...)
	if r.code != code {
		p.t.Errorf("podman %s: code %d, want %d", strings.Join(args, " "), r.code, code)
	}
	if !strings.Contains(r.stdout, want) {
		p.t.Errorf("podman %s: stdout %q, want it to contain %q", strings.Join(args, " "), r.stdout, want)
	}
	return r
}
