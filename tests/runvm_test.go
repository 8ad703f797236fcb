//go:build e2e

package tests

import (
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

	"github.com/runvm/runvm/tests/bundle"
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
	// Files, not pipes: what a detached container inherits must not keep the test waiting.
	stdout, stderr := outputFile(t), outputFile(t)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), stdout, stderr
	err := c.Run()
	r := result{contents(t, stdout), contents(t, stderr), c.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Errorf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	t.Logf("$ %s %s\ncode %d\nstdout: %s\nstderr: %s", filepath.Base(name), strings.Join(args, " "), r.code, tail(r.stdout), tail(r.stderr))
	return r
}

func outputFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func contents(t *testing.T, f *os.File) string {
	t.Helper()
	defer f.Close()
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
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
		for _, name := range names(r.root) {
			r.run(t, "delete", "--force", name)
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
	dir, spec := t.TempDir(), bundle.Spec(args)
	for _, f := range change {
		f(spec)
	}
	if err := bundle.Write(dir, busybox, spec); err != nil {
		t.Fatal(err)
	}
	return dir
}
