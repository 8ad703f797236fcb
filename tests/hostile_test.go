//go:build e2e

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestQEMUEndsAtOnce: a QEMU that ends before it listens, as one does that refuses an option, is no silence to be waited
// out.
func TestQEMUEndsAtOnce(t *testing.T) {
	r := newRuntime(t)
	r.env = config(t, fmt.Sprintf("qemu_path = %q\n", "/bin/false"))
	got := r.run(t, "run", "--bundle", newBundle(t, []string{"true"}), "c1")
	if got.code != 1 || !strings.Contains(got.stderr, "QEMU: exit status 1") || strings.Contains(got.stderr, "no answer within") {
		t.Errorf("%+v", got)
	}
	if left := r.must(t, "list", "--quiet"); left != "" {
		t.Errorf("containers left: %q", left)
	}
}

// TestPauseWithoutSpace: pause and resume that cannot write down what they do leave a container that can be resumed.
func TestPauseWithoutSpace(t *testing.T) {
	r := newRuntime(t)
	if err := os.MkdirAll(r.root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", r.root, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	// Before newRuntime's own clean-up.
	t.Cleanup(func() {
		r.run(t, "delete", "--force", "c1")
		if err := syscall.Unmount(r.root, 0); err != nil {
			t.Error(err)
		}
	})
	r.must(t, "run", "--detach", "--bundle", newBundle(t, []string{"sleep", "1000"}), "c1")
	full := func() {
		t.Helper()
		if err := os.WriteFile(filepath.Join(r.root, "full"), make([]byte, 2<<20), 0o600); err == nil {
			t.Fatal("the file system did not fill up")
		}
	}
	refused := func(command, status string) {
		t.Helper()
		full()
		if got := r.run(t, command, "c1"); got.code != 1 || !strings.Contains(got.stderr, "no space left") {
			t.Errorf("%s: %+v", command, got)
		}
		r.waitFor(t, "c1", status)
		if err := os.Remove(filepath.Join(r.root, "full")); err != nil {
			t.Fatal(err)
		}
	}
	refused("pause", "running")
	if got := r.must(t, "exec", "c1", "echo", "running"); got != "running\n" {
		t.Errorf("exec: %q", got)
	}
	r.must(t, "pause", "c1")
	refused("resume", "paused")
	r.must(t, "resume", "c1")
	if got := r.must(t, "exec", "c1", "echo", "resumed"); got != "resumed\n" {
		t.Errorf("exec: %q", got)
	}
}
