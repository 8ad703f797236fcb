//go:build e2e

package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const templatesDir = "/run/runvm/,templates"

// templateRuntime is a runtime whose machine, and so its template, is no other test's.
func templateRuntime(t *testing.T) *runtime {
	t.Helper()
	r := newRuntime(t)
	r.env = config(t, "template = \"auto\"\n[vm]\nmemory_mib = 224\n")
	return r
}

// makeTemplate makes the runtime's template, which goes with the test, and returns its key.
func (r *runtime) makeTemplate(t *testing.T) string {
	t.Helper()
	key := strings.TrimSpace(r.must(t, "template", "create"))
	t.Cleanup(func() { r.run(t, "template", "rm", key) })
	return key
}

// templateStatus is what list says of a template: its status, or nothing.
func (r *runtime) templateStatus(t *testing.T, key string) string {
	t.Helper()
	for line := range strings.Lines(r.must(t, "template", "list")) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[0] == key {
			return strings.Join(fields[4:], " ")
		}
	}
	return ""
}

// leftovers are what a maker that is gone has left.
func leftovers(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob(templatesDir + "/.new-*")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestClones: containers start from the template, and no two of them are alike in what must differ.
func TestClones(t *testing.T) {
	r := templateRuntime(t)
	key := r.makeTemplate(t)
	if again := strings.TrimSpace(r.must(t, "template", "create")); again != key {
		t.Errorf("made again under another key: %q, %q", key, again)
	}
	if status := r.templateStatus(t, key); status != "ready" {
		t.Errorf("status %q", status)
	}
	script := "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | md5sum; date +%s; hostname"
	seen := map[string]bool{}
	for i := range 2 {
		log := filepath.Join(t.TempDir(), "log")
		got := r.run(t, "--debug", "--log", log, "run", "--bundle", newBundle(t, []string{"sh", "-c", script}), "c1")
		lines := strings.Fields(strings.ReplaceAll(got.stdout, " -", ""))
		if got.code != 0 || len(lines) != 4 {
			t.Fatalf("clone %d: %+v\n%s", i, got, read(t, log))
		}
		if text := read(t, log); !strings.Contains(text, "template "+key) || strings.Contains(text, "could not be used") {
			t.Errorf("clone %d does not come from the template:\n%s", i, text)
		}
		if seen[lines[0]] || seen[lines[1]] {
			t.Errorf("the clones share boot id or random numbers: %q, seen %v", lines, seen)
		}
		seen[lines[0]], seen[lines[1]] = true, true
		now, err := strconv.ParseInt(lines[2], 10, 64)
		if off := time.Since(time.Unix(now, 0)); err != nil || off < -time.Minute || off > time.Minute {
			t.Errorf("the clone's clock is off by %v, err %v", off, err)
		}
		if lines[3] != "guest" {
			t.Errorf("host name %q", lines[3])
		}
	}
}

// TestBrokenTemplate: a template that cannot be cloned costs one line in the log, once.
func TestBrokenTemplate(t *testing.T) {
	r := templateRuntime(t)
	key := r.makeTemplate(t)
	if err := os.Truncate(filepath.Join(templatesDir, key, "state"), 100_000); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0} {
		log := filepath.Join(t.TempDir(), "log")
		got := r.run(t, "--log", log, "run", "--bundle", newBundle(t, []string{"echo", "booted"}), "c1")
		if got.code != 0 || got.stdout != "booted\n" {
			t.Fatalf("run %d: %+v", i, got)
		}
		if n := strings.Count(read(t, log), "could not be used"); n != want {
			t.Errorf("run %d: %d lines about the template, want %d:\n%s", i, n, want, read(t, log))
		}
	}
	if status := r.templateStatus(t, key); !strings.HasPrefix(status, "failed") {
		t.Errorf("status %q", status)
	}
	r.must(t, "template", "create")
	if status := r.templateStatus(t, key); status != "ready" {
		t.Errorf("status %q after it was made again", status)
	}
}

// TestTemplateMakers: of makers at the same time one works; one that is killed leaves nothing that counts, and the next
// one clears up.
func TestTemplateMakers(t *testing.T) {
	r := templateRuntime(t)
	before := observe(t)
	doomed := exec.Command("env", append(r.env, runvmPath, "template", "create")...)
	if err := doomed.Start(); err != nil {
		t.Fatal(err)
	}
	killMaker(t)
	if err := doomed.Wait(); err == nil {
		t.Error("no error although the maker was killed")
	}
	before.assertSame(t)
	if len(leftovers(t)) == 0 {
		t.Error("the maker was killed too late for this test")
	}

	var keys [2]string
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			out, err := exec.Command("env", append(r.env, runvmPath, "template", "create")...).Output()
			keys[i] = fmt.Sprint(strings.TrimSpace(string(out)), err)
		})
	}
	wg.Wait()
	key := r.makeTemplate(t)
	if keys[0] != key+"<nil>" || keys[1] != keys[0] {
		t.Errorf("two makers: %q, want twice %q", keys, key)
	}
	if left := leftovers(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// killMaker kills the maker with SIGKILL once its QEMU runs.
func killMaker(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		got := command(t, "", "pgrep", "-x", "-f", "runvm .*template-maker")
		sockets, _ := filepath.Glob(templatesDir + "/.new-*/work/vm/qmp.sock")
		if pid, err := strconv.Atoi(strings.TrimSpace(got.stdout)); err == nil && len(sockets) > 0 {
			if p, err := os.FindProcess(pid); err != nil || p.Kill() != nil {
				t.Fatalf("kill %d: %v", pid, err)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no maker was seen")
}

// TestTemplateInBackground: the first container boots, and makes the template for the next.
func TestTemplateInBackground(t *testing.T) {
	r := templateRuntime(t)
	if got := r.run(t, "run", "--bundle", newBundle(t, []string{"echo", "first"}), "c1"); got.code != 0 || got.stdout != "first\n" {
		t.Fatalf("%+v", got)
	}
	// Waits for the maker, which has the lock.
	key := r.makeTemplate(t)
	log := filepath.Join(t.TempDir(), "log")
	got := r.run(t, "--debug", "--log", log, "run", "--bundle", newBundle(t, []string{"echo", "second"}), "c1")
	if got.code != 0 || got.stdout != "second\n" || !strings.Contains(read(t, log), "template "+key) {
		t.Errorf("%+v\n%s", got, read(t, log))
	}
}

// TestTemplateRefusals: what cannot be made or removed says so.
func TestTemplateRefusals(t *testing.T) {
	r := &runtime{root: t.TempDir(), env: config(t, "[share]\ntype = \"9p\"\n")}
	if got := r.run(t, "template", "create"); got.code != 1 || !strings.Contains(got.stderr, "virtiofsd") {
		t.Errorf("9p: %+v", got)
	}
	for _, args := range [][]string{{"rm"}, {"rm", "--all", "x"}, {"rm", "nonesuch"}, {"rm", "../x"}, {"list", "x"}} {
		if got := r.run(t, append([]string{"template"}, args...)...); got.code == 0 {
			t.Errorf("template %v: %+v", args, got)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
