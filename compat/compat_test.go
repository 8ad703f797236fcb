package compat

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runvm/runvm/shim"
	"github.com/runvm/runvm/state"
)

func TestSetUser(t *testing.T) {
	for in, want := range map[string]specs.User{
		"": {UID: 5, GID: 6}, "1000": {UID: 1000, GID: 6}, "1:2": {UID: 1, GID: 2}, "4294967295:0": {UID: 1<<32 - 1},
	} {
		u := specs.User{UID: 5, GID: 6}
		if err := setUser(&u, in); err != nil {
			t.Errorf("%q: %v", in, err)
		}
		if diff := cmp.Diff(want, u); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
	for _, in := range []string{"root", "1:", ":1", "-1", "1:2:3", "4294967296"} {
		if err := setUser(&specs.User{}, in); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}

func TestAddCapabilities(t *testing.T) {
	p := &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}}}
	addCapabilities(p, []string{"CAP_KILL", "CAP_SYS_TIME"})
	both := []string{"CAP_KILL", "CAP_SYS_TIME"}
	if diff := cmp.Diff(&specs.LinuxCapabilities{Bounding: both, Effective: both, Permitted: both}, p.Capabilities); diff != "" {
		t.Error(diff)
	}
	p = &specs.Process{Capabilities: &specs.LinuxCapabilities{Inheritable: []string{"CAP_KILL"}}}
	addCapabilities(p, []string{"CAP_KILL"})
	if len(p.Capabilities.Ambient) != 1 {
		t.Errorf("ambient %v: what can be inherited can be ambient", p.Capabilities.Ambient)
	}
	p = &specs.Process{}
	addCapabilities(p, nil)
	if p.Capabilities != nil {
		t.Error("nothing was asked for")
	}
}

func TestSubCgroup(t *testing.T) {
	for _, tc := range []struct {
		args       []string
		path, want string
	}{
		{nil, "", ""},
		{[]string{"a/b"}, "a/b", ""},
		{[]string{"cpu,memory:a", "pids:b"}, "", ""},
		{[]string{"a", "b"}, "", "invalid --cgroup argument: a (missing <controller>: prefix)"},
		{[]string{":a"}, "", "invalid --cgroup argument: :a (empty <controller> prefix)"},
		{[]string{"cpu:a", "cpu:b"}, "", "invalid --cgroup argument(s): controller cpu specified multiple times"},
	} {
		path, err := subCgroup(tc.args)
		if path != tc.path || tc.want == "" && err != nil || tc.want != "" && (err == nil || err.Error() != tc.want) {
			t.Errorf("%q: %q, %v; want %q, %q", tc.args, path, err, tc.path, tc.want)
		}
	}
}

func TestPrintList(t *testing.T) {
	list := []state.View{{
		Version: "1.0.2", ID: "c1", PID: 7, Status: "running", Bundle: "/b", Rootfs: "/b/rootfs", Owner: "root",
		Created: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
	}}
	for name, tc := range map[string]struct {
		format string
		quiet  bool
		want   string
	}{
		"table": {"table", false, "ID          PID         STATUS      BUNDLE      CREATED                          OWNER\n" +
			"c1          7           running     /b          2026-01-02T03:04:05.000000006Z   root\n"},
		"json": {"json", false, `[{"ociVersion":"1.0.2","id":"c1","pid":7,"status":"running","bundle":"/b","rootfs":"/b/rootfs",` +
			`"created":"2026-01-02T03:04:05.000000006Z","owner":"root"}]` + "\n"},
		"quiet": {"table", true, "c1\n"},
	} {
		var b bytes.Buffer
		if err := printList(&b, list, tc.format, tc.quiet); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tc.want, b.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if err := printList(&bytes.Buffer{}, list, "xml", false); err == nil || err.Error() != "invalid format option" {
		t.Errorf("unknown format: %v", err)
	}
}

// TestIsShim: only the variable with the right value makes a process a shim.
func TestIsShim(t *testing.T) {
	for _, tc := range []struct {
		env  []string
		want bool
	}{
		{[]string{"A=1", shim.StageVariable + "=" + shim.Stage}, true},
		{[]string{shim.StageVariable + "=other"}, false},
		{[]string{"X" + shim.StageVariable + "=" + shim.Stage}, false},
		{nil, false},
	} {
		cmd := exec.Command("sleep", "60")
		cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, tc.env...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Start returns when execve(2) has closed descriptors, which is before the new environment can be read.
		environ := fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid)
		for data, err := os.ReadFile(environ); err == nil && len(data) == 0; data, err = os.ReadFile(environ) {
		}
		got, err := isShim(cmd.Process.Pid)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if got != tc.want || err != nil {
			t.Errorf("%q: %v, %v", tc.env, got, err)
		}
		if gone, err := isShim(cmd.Process.Pid); gone || err != nil {
			t.Errorf("a process that has ended: %v, %v", gone, err)
		}
	}
}
