//go:build e2e

package tests

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestSameAsRunc: where no container is needed, runc and runvm say the same.
func TestSameAsRunc(t *testing.T) {
	r := newRuntime(t)
	if err := os.MkdirAll(r.root, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"state", "nobody"}, {"start", "nobody"}, {"delete", "nobody"}, {"delete", "--force", "nobody"}, {"kill", "nobody"},
		{"exec", "nobody", "true"}, {"ps", "nobody"}, {"pause", "nobody"}, {"resume", "nobody"}, {"events", "nobody"},
		{"update", "nobody"}, {"checkpoint", "nobody"}, {"list"}, {"list", "--quiet"}, {"list", "--format", "xml"},
		{"list", "--format", "json"}, {"state", ""},
	} {
		ours := r.run(t, args...)
		runc := command(t, "", "runc", append([]string{"--root", r.root}, args...)...)
		if ours.code != runc.code || ours.stdout != runc.stdout || logMessage(ours.stderr) != logMessage(runc.stderr) {
			t.Errorf("%s: runvm %+v, runc %+v", args, ours, runc)
		}
	}
}

// TestSequenceAsRunc takes one container through the same commands with runc and runvm: exit codes, messages, and the
// form of what is printed agree.
func TestSequenceAsRunc(t *testing.T) {
	r := newRuntime(t)
	bundle, runcRoot := newBundle(t, []string{"sleep", "1000"}), t.TempDir()
	// In a cgroup of its own: runc's pause would freeze the other's VM.
	runcBundle := newBundle(t, []string{"sleep", "1000"}, func(s *specs.Spec) { s.Linux.CgroupsPath = "runc-c1" })
	runc := func(args ...string) result {
		args = slices.Clone(args)
		for i := range args {
			args[i] = strings.Replace(args[i], bundle, runcBundle, 1)
		}
		return command(t, "", "runc", append([]string{"--root", runcRoot}, args...)...)
	}
	t.Cleanup(func() { runc("delete", "--force", "c1") })
	for _, step := range []struct {
		args []string
		form func(*testing.T, string) string // of the standard output; nil: all of it
	}{
		{[]string{"create", "--bundle", bundle, "c1"}, nil},
		{[]string{"create", "--bundle", bundle, "c1"}, nil},
		{[]string{"state", "c1"}, jsonKeys},
		{[]string{"resume", "c1"}, nil},
		{[]string{"checkpoint", "c1"}, nil},
		{[]string{"start", "c1"}, nil},
		{[]string{"start", "c1"}, nil},
		{[]string{"delete", "c1"}, nil},
		{[]string{"events", "--stats", "c1"}, jsonKeys},
		{[]string{"events", "--interval", "-1s", "c1"}, nil},
		{[]string{"ps", "c1"}, firstLine},
		{[]string{"ps", "--format", "xml", "c1"}, nil},
		{[]string{"ps", "c1", "-o", "comm"}, nil},
		{[]string{"update", "--cpu-quota", "x", "c1"}, nil},
		{[]string{"update", "--resources", "/no/such", "c1"}, nil},
		{[]string{"update", "--mem-bw-schema", "MB:0=20", "c1"}, nil},
		{[]string{"exec", "c1", "sh", "-c", "echo out; exit 3"}, nil},
		{[]string{"pause", "c1"}, nil},
		{[]string{"pause", "c1"}, nil},
		{[]string{"resume", "c1"}, nil},
		{[]string{"resume", "c1"}, nil},
		{[]string{"kill", "c1", "NONSENSE"}, nil},
		{[]string{"kill", "c1", "KILL"}, nil},
	} {
		ours, theirs := r.run(t, step.args...), runc(step.args...)
		if step.form != nil {
			ours.stdout, theirs.stdout = step.form(t, ours.stdout), step.form(t, theirs.stdout)
		}
		if ours.code != theirs.code || ours.stdout != theirs.stdout || logMessage(ours.stderr) != logMessage(theirs.stderr) {
			t.Errorf("%s:\nrunvm %+v\nrunc  %+v", step.args, ours, theirs)
		}
	}
	r.waitFor(t, "c1", "stopped")
	for _, args := range [][]string{
		{"start", "c1"}, {"exec", "c1", "true"}, {"pause", "c1"}, {"events", "c1"}, {"kill", "c1"}, {"checkpoint", "c1"},
		{"update", "--pids-limit", "5", "c1"}, {"delete", "c1"}, {"delete", "c1"},
	} {
		ours, theirs := r.run(t, args...), runc(args...)
		if ours.code != theirs.code || logMessage(ours.stderr) != logMessage(theirs.stderr) {
			t.Errorf("stopped, %s:\nrunvm %+v\nrunc  %+v", args, ours, theirs)
		}
	}
}

// jsonKeys are the names in a JSON object and in the one that its "data" is.
func jsonKeys(t *testing.T, text string) string {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Errorf("%q: %v", text, err)
	}
	keys := slices.Sorted(maps.Keys(object))
	if data, ok := object["data"].(map[string]any); ok {
		keys = append(keys, slices.Sorted(maps.Keys(data))...)
	}
	return strings.Join(keys, " ")
}

// firstLine is the first line, blanks folded.
func firstLine(_ *testing.T, text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.Join(strings.Fields(line), " ")
}

// logMessage is the text of a log line on standard error.
func logMessage(line string) string {
	_, message, _ := strings.Cut(strings.TrimSpace(line), "msg=")
	return strings.Replace(message, "runvm create failed", "runc create failed", 1)
}
