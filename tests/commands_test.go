//go:build e2e

package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// commandsTest is one container with limits, for many assertions.
type commandsTest struct {
	*runtime
	id string
}

// TestCommands shares one VM among the commands that runc has beside those of the runtime specification.
func TestCommands(t *testing.T) {
	r := commandsTest{newRuntime(t), "c1"}
	var features struct {
		Linux struct {
			Seccomp struct{ SupportedFlags []specs.LinuxSeccompFlag }
		}
	}
	if err := json.Unmarshal([]byte(r.must(t, "features")), &features); err != nil || len(features.Linux.Seccomp.SupportedFlags) == 0 {
		t.Fatalf("features: %+v, %v", features, err)
	}
	bundle := newBundle(t, []string{"sh", "-c", "sleep 1000 & while :; do sleep 1; done"}, func(s *specs.Spec) {
		s.Linux.Resources = &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: new(int64(96 << 20)), Swap: new(int64(96 << 20))},
			CPU:    &specs.LinuxCPU{Quota: new(int64(50_000)), Period: new(uint64(100_000))},
			Pids:   &specs.LinuxPids{Limit: new(int64(50))},
		}
		// What features promises is held by a container.
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: features.Linux.Seccomp.SupportedFlags}
		s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0"}
	})
	socket := listenPidfd(t)
	r.must(t, "create", "--bundle", bundle, "--pidfd-socket", socket.path, r.id)
	init := socket.receive(t, "standard")
	r.must(t, "start", r.id)
	if maps := r.inGuest(t, "head -n 1 /proc/1/numa_maps"); !strings.Contains(maps, "bind:0") {
		t.Errorf("memory policy: %q", maps)
	}
	t.Run("update", r.testUpdate)
	t.Run("no room", r.testNoRoom)
	t.Run("stats", r.testStats)
	t.Run("ps", r.testPs)
	t.Run("checkpoint", r.testCheckpoint)
	t.Run("pidfd of exec", r.testExecPidfd)
	t.Run("events", r.testEvents) // ends the container
	init.waitEnd(t)
	for _, args := range [][]string{{"update", "--memory", "1g", r.id}, {"ps", r.id}} {
		if got := r.run(t, args...); got.code != 1 || !strings.Contains(got.stderr, "container not running") {
			t.Errorf("%s of a stopped container: %+v", args[0], got)
		}
	}
}

// inGuest runs a script in the container.
func (r commandsTest) inGuest(t *testing.T, script string) string {
	t.Helper()
	return strings.TrimSpace(r.must(t, "exec", r.id, "sh", "-c", script))
}

// limits reads what the container's own cgroup in the guest and that of the host allow.
func (r commandsTest) limits(t *testing.T) string {
	t.Helper()
	guest := r.inGuest(t, "cd /sys/fs/cgroup; cat memory.max cpu.max pids.max cpu.weight | tr '\\n' ' '")
	group, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", r.state(t, r.id).PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(group)) {
		if _, path, ok := strings.Cut(strings.TrimSpace(line), ":memory:"); ok {
			limit, err := os.ReadFile("/sys/fs/cgroup/memory" + path + "/memory.limit_in_bytes")
			if err != nil {
				t.Fatal(err)
			}
			return guest + " host " + strings.TrimSpace(string(limit))
		}
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			if limit, err := os.ReadFile("/sys/fs/cgroup" + path + "/memory.max"); err == nil {
				return guest + " host " + strings.TrimSpace(string(limit))
			}
		}
	}
	t.Fatalf("no memory cgroup in %q", group)
	return ""
}

// testUpdate: each update changes what it names, in the guest and with the overhead of 384 MiB on the host.
func (r commandsTest) testUpdate(t *testing.T) {
	resources := filepath.Join(t.TempDir(), "resources.json")
	if err := os.WriteFile(resources, []byte(`{"memory":{"limit":100663296,"swap":100663296},"pids":{"limit":60}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		stdin string
		args  []string
		want  string
	}{
		{"", []string{"--memory", "64m", "--memory-swap", "64m", "--pids-limit", "30"}, "67108864 50000 100000 30 100 host 469762048"},
		{"", []string{"--cpu-period", "50000", "--cpu-share", "512"}, "67108864 50000 50000 30 59 host 469762048"},
		{"", []string{"--cpu-quota=30000"}, "67108864 30000 50000 30 59 host 469762048"},
		{`{"memory":{"limit":83886080,"swap":83886080}}`, []string{"--resources", "-"}, "83886080 30000 50000 30 59 host 486539264"},
		{"", []string{"--resources=" + resources, "--memory", "1m"}, "100663296 30000 50000 60 59 host 503316480"},
	} {
		if got := r.runWith(t, step.stdin, append(append([]string{"update"}, step.args...), r.id)...); got.code != 0 {
			t.Fatalf("update %s: %+v", step.args, got)
		}
		if got := r.limits(t); got != step.want {
			t.Errorf("update %s: limits %q, want %q", step.args, got, step.want)
		}
	}
}

// testNoRoom: what the virtual machine cannot give is refused, and nothing changes.
func (r commandsTest) testNoRoom(t *testing.T) {
	before := r.limits(t)
	refusals := map[string][]string{
		"virtual machine would need": {"--memory", "10g"},
		`invalid value for cpu-quota: strconv.ParseInt: parsing "x": invalid syntax`: {"--cpu-quota", "x"},
		"Intel RDT/CAT: l3 cache schema is not enabled":                              {"--l3-cache-schema", "L3:0=f"},
		"no such file": {"--resources", "/no/such"},
	}
	if goruntime.NumCPU() > 1 { // a VM has no more CPUs than the host, whatever the quota
		refusals["the virtual machine has 1 since its creation"] = []string{"--cpu-quota", "6400000"}
	}
	for want, args := range refusals {
		got := r.run(t, append(append([]string{"update"}, args...), r.id)...)
		if got.code != 1 || !strings.Contains(got.stderr, strings.ReplaceAll(want, `"`, `\"`)) {
			t.Errorf("update %s: %+v, want %q", args, got, want)
		}
	}
	if after := r.limits(t); after != before {
		t.Errorf("limits are %q, were %q", after, before)
	}
}

// event is a line that events prints.
type event struct {
	Type string
	ID   string
	Data map[string]any
}

// testStats: the figures are those of the guest's cgroup.
func (r commandsTest) testStats(t *testing.T) {
	var e event
	if err := json.Unmarshal([]byte(r.must(t, "events", "--stats", r.id)), &e); err != nil {
		t.Fatal(err)
	}
	figure := func(names ...string) float64 {
		at := any(e.Data)
		for _, name := range names {
			m, _ := at.(map[string]any)
			at = m[name]
		}
		f, _ := at.(float64)
		return f
	}
	if e.Type != "stats" || e.ID != r.id || figure("pids", "limit") != 60 || figure("pids", "current") < 2 ||
		figure("memory", "usage", "limit") != 96<<20 || figure("memory", "usage", "usage") <= 0 || figure("cpu", "usage", "total") <= 0 {
		t.Errorf("statistics %+v", e)
	}
	keys := []string{"blkio", "cpu", "cpuset", "hugetlb", "intel_rdt", "memory", "network_interfaces", "pids"}
	var got []string
	for k := range e.Data {
		got = append(got, k)
	}
	slices.Sort(got)
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Error(diff)
	}
	if got := r.run(t, "events", "--interval", "0s", r.id); got.code != 1 || !strings.Contains(got.stderr, "duration interval must be greater than 0") {
		t.Errorf("interval 0: %+v", got)
	}
}

// testPs: columns as asked for, with the guest's processes in them.
func (r commandsTest) testPs(t *testing.T) {
	for args, want := range map[string][]string{
		"-ef":                     {"UID PID PPID C STIME TTY TIME CMD", "sleep 1000"},
		"aux":                     {"USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND", "sleep 1000"},
		"-e -o pid,user=WHO":      {"PID WHO", "root"},
		"-o pid,ppid,etime,comm ": {"PID PPID ELAPSED COMMAND", " sh"},
	} {
		out := r.must(t, append([]string{"ps", r.id}, strings.Fields(args)...)...)
		header, rest, _ := strings.Cut(out, "\n")
		if strings.Join(strings.Fields(header), " ") != want[0] || !strings.Contains(rest, want[1]) {
			t.Errorf("ps %s printed %q", args, out)
		}
	}
	if got := r.run(t, "ps", r.id, "-o", "comm"); got.code != 1 || !strings.Contains(got.stderr, "couldn't find PID field in ps output") {
		t.Errorf("ps without pids: %+v", got)
	}
	if got := r.run(t, "ps", r.id, "--forest"); got.code != 1 || !strings.Contains(got.stderr, "is not supported") {
		t.Errorf("ps --forest: %+v", got)
	}
}

// testCheckpoint: engines can ask for it, and get one clear error.
func (r commandsTest) testCheckpoint(t *testing.T) {
	for _, args := range [][]string{{"checkpoint", "--leave-running", r.id}, {"restore", "--detach", "other"}} {
		if got := r.run(t, args...); got.code != 1 || !strings.Contains(got.stderr, "checkpoint and restore are not supported yet") {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := r.run(t, "checkpoint", "--help"); got.code != 0 || !strings.Contains(got.stdout, "--image-path") {
		t.Errorf("checkpoint --help: %+v", got)
	}
	if got := r.run(t, "restore", "--lsm-mount-context"); got.code != 1 || !strings.Contains(got.stderr, "flag needs an argument") {
		t.Errorf("podman's question: %+v", got)
	}
}

// testExecPidfd: the descriptor is that of the exec's process, also if that ends at once.
func (r commandsTest) testExecPidfd(t *testing.T) {
	socket := listenPidfd(t)
	r.must(t, "exec", "--pidfd-socket", socket.path, r.id, "true")
	socket.receive(t, "setns").waitEnd(t)
	if got := r.run(t, "exec", "--pidfd-socket", "/no/such", r.id, "true"); got.code != 255 || !strings.Contains(got.stderr, "/no/such") {
		t.Errorf("no listener: %+v", got)
	}
}

// testEvents: statistics come by themselves, an OOM kill when it happens, the end with the container's.
func (r commandsTest) testEvents(t *testing.T) {
	c := exec.Command(runvmPath, "--root", r.root, "events", "--interval", "1s", r.id)
	stderr := outputFile(t)
	c.Stderr = stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(limit, func() { _ = c.Process.Kill() })
	defer kill.Stop()
	lines := json.NewDecoder(out)
	next := func(kind string) {
		t.Helper()
		for {
			var e event
			if err := lines.Decode(&e); err != nil {
				t.Fatalf("no event %q: %v", kind, err)
			}
			if e.ID != r.id {
				t.Errorf("event of %q", e.ID)
			}
			if e.Type == kind {
				return
			}
		}
	}
	next("stats")
	if got := r.run(t, "exec", r.id, "sh", "-c", "exec "+hog); got.code != 137 {
		t.Errorf("the hog: %+v", got)
	}
	next("oom")
	next("stats")
	r.must(t, "kill", r.id, "KILL")
	if _, err := io.Copy(io.Discard, io.MultiReader(lines.Buffered(), out)); err != nil {
		t.Error(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("events: %v: %s", err, contents(t, stderr))
	}
	r.waitFor(t, r.id, "stopped")
	if got := r.run(t, "events", r.id); got.code != 1 || !strings.Contains(got.stderr, "container with id c1 is not running") {
		t.Errorf("events of a stopped container: %+v", got)
	}
}

// TestRunKeep: what run leaves with its flags.
func TestRunKeep(t *testing.T) {
	r := newRuntime(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	got := r.run(t, "run", "--keep", "--no-subreaper", "--pid-file", pidFile, "--bundle", newBundle(t, []string{"sh", "-c", "exit 4"}), "c1")
	if got.code != 4 {
		t.Errorf("%+v", got)
	}
	if data, err := os.ReadFile(pidFile); err != nil || len(data) == 0 {
		t.Errorf("pid file %q, %v", data, err)
	}
	if status := r.status(t, "c1"); status != "stopped" {
		t.Errorf("status %q, want stopped", status)
	}
	r.must(t, "delete", "--force", "c1")
}

// TestSpec: what spec writes differs from Debian's runc, an older release, in nothing but the version, the paths that
// were masked since, and a namespace that the host decides on; and it runs.
func TestSpec(t *testing.T) {
	r := newRuntime(t)
	read := func(name string, args ...string) map[string]any {
		dir := t.TempDir()
		if got := command(t, "", name, append(args, "--bundle", dir)...); got.code != 0 {
			t.Fatalf("%s: %+v", name, got)
		}
		data, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		var spec map[string]any
		if err := json.Unmarshal(data, &spec); err != nil {
			t.Fatal(err)
		}
		delete(spec, "ociVersion")
		linux := spec["linux"].(map[string]any)
		delete(linux, "maskedPaths")
		process := spec["process"].(map[string]any)
		capabilities := process["capabilities"].(map[string]any)
		delete(capabilities, "ambient") // left out since runc 1.1
		delete(capabilities, "inheritable")
		return spec
	}
	for _, flags := range [][]string{{"spec"}, {"spec", "--rootless"}} {
		if diff := cmp.Diff(read("runc", flags...), read(runvmPath, flags...)); diff != "" {
			t.Errorf("%s (-runc +runvm): %s", flags, diff)
		}
	}
	bundle := newBundle(t, []string{"true"})
	if got := r.run(t, "spec", "--bundle", bundle); got.code != 1 || !strings.Contains(got.stderr, "File config.json exists. Remove it first") {
		t.Errorf("spec over a file: %+v", got)
	}
	config := filepath.Join(bundle, "config.json")
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	r.must(t, "spec", "--bundle", bundle)
	data, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(strings.Replace(string(data), `"terminal": true`, `"terminal": false`, 1), `"sh"`, `"hostname"`, 1)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := r.run(t, "run", "--bundle", bundle, "c1"); got.code != 0 || got.stdout != "runc\n" {
		t.Errorf("the default configuration: %+v", got)
	}
}

// TestCompletion: the script asks runvm for commands, flags and ids.
func TestCompletion(t *testing.T) {
	for typed, want := range map[string]string{
		"pau":               "pause",
		"update --cpu-p":    "--cpu-period",
		"events --in":       "--interval",
		"--system":          "--systemd-cgroup",
		"create --bundle /": "", // files are bash's
	} {
		script := `source ../dist/completion.bash; COMP_WORDS=("$0" $1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _runvm; echo "${COMPREPLY[*]}"`
		if got := command(t, "", "bash", "-c", script, runvmPath, typed); got.code != 0 || strings.TrimSpace(got.stdout) != want {
			t.Errorf("%q: %+v, want %q", typed, got, want)
		}
	}
}
