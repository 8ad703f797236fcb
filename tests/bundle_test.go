//go:build e2e

package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestRunFromBundle is the thinnest true path: bundle, VM, process, exit code.
func TestRunFromBundle(t *testing.T) {
	r := newRuntime(t)
	hostKernel := strings.TrimSpace(command(t, "", "uname", "-r").stdout)
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"echo":             {[]string{"echo", "hello"}, 0, "hello\n", ""},
		"exit code":        {[]string{"sh", "-c", "exit 3"}, 3, "", ""},
		"separate stderr":  {[]string{"sh", "-c", "echo out; echo err >&2"}, 0, "out\n", "err\n"},
		"death by signal":  {[]string{"sh", "-c", "sh -c 'kill -9 $$'; exit $?"}, 137, "", ""},
		"immortal":         {[]string{"sh", "-c", "kill -9 $$; echo process 1 cannot kill itself"}, 0, "process 1 cannot kill itself\n", ""},
		"process 1 in VM":  {[]string{"sh", "-c", "test $$ = 1 && hostname"}, 0, "guest\n", ""},
		"root is writable": {[]string{"sh", "-c", "echo x > /new && cat /new"}, 0, "x\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.run(t, "run", "--bundle", newBundle(t, tc.args), "c1")
			if got.code != tc.code || got.stdout != tc.stdout || !strings.HasSuffix(got.stderr, tc.stderr) {
				t.Errorf("got code %d, stdout %q, stderr %q; want %d, %q, %q",
					got.code, got.stdout, got.stderr, tc.code, tc.stdout, tc.stderr)
			}
		})
	}
	t.Run("another kernel", func(t *testing.T) {
		got := r.run(t, "run", "--bundle", newBundle(t, []string{"uname", "-r"}), "c1")
		if got.code != 0 || strings.TrimSpace(got.stdout) == hostKernel || got.stdout == "" {
			t.Errorf("the container's kernel is %q, the host's %q", got.stdout, hostKernel)
		}
	})
}

// TestLifeCycle goes through the operations one by one and looks at the state after each.
func TestLifeCycle(t *testing.T) {
	r := newRuntime(t)
	bundle := newBundle(t, []string{"sh", "-c", "trap 'exit 42' TERM; echo up > /up; while :; do sleep 1; done"}, func(s *specs.Spec) {
		s.Annotations = map[string]string{"org.example.key": "value"}
	})
	pidFile := filepath.Join(t.TempDir(), "pid")
	r.must(t, "create", "--bundle", bundle, "--pid-file", pidFile, "c1")
	s := r.state(t, "c1")
	if s.Status != "created" || s.Version != "1.0.2" || s.ID != "c1" || s.Bundle != bundle || s.Rootfs != filepath.Join(bundle, "rootfs") {
		t.Errorf("unexpected state %+v", s)
	}
	if _, err := time.Parse(time.RFC3339Nano, s.Created); err != nil {
		t.Error(err)
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil || string(pid) != strconv.Itoa(s.PID) {
		t.Errorf("pid file %q (%v), state says %d", pid, err, s.PID)
	}
	if _, err := os.Stat(filepath.Join(bundle, "rootfs", "up")); err == nil {
		t.Error("the program ran before start")
	}
	if got := r.run(t, "create", "--bundle", bundle, "c1"); got.code != 1 || !strings.Contains(got.stderr, "container with given ID already exists") {
		t.Errorf("second create: %+v", got)
	}
	r.must(t, "start", "c1")
	if status := r.status(t, "c1"); status != "running" {
		t.Errorf("status %q after start", status)
	}
	if got := r.run(t, "start", "c1"); got.code != 1 || !strings.Contains(got.stderr, "cannot start an already running container") {
		t.Errorf("second start: %+v", got)
	}
	if got := r.run(t, "delete", "c1"); got.code != 1 || !strings.Contains(got.stderr, "cannot delete container c1 that is not stopped: running") {
		t.Errorf("delete of a running container: %+v", got)
	}
	if got := r.must(t, "list", "--quiet"); got != "c1\n" {
		t.Errorf("list --quiet printed %q", got)
	}
	var list []map[string]any
	if err := json.Unmarshal([]byte(r.must(t, "list", "--format", "json")), &list); err != nil || len(list) != 1 || list[0]["owner"] != "root" {
		t.Errorf("list: %v, %v", list, err)
	}
	if out := r.must(t, "exec", "c1", "cat", "/up"); out != "up\n" {
		t.Errorf("exec printed %q", out)
	}
	r.must(t, "kill", "c1", "TERM")
	r.waitFor(t, "c1", "stopped")
	if pid := r.state(t, "c1").PID; pid != 0 {
		t.Errorf("a stopped container has pid %d", pid)
	}
	if got := r.run(t, "kill", "c1", "KILL"); got.code != 1 || !strings.Contains(got.stderr, "container not running") {
		t.Errorf("kill of a stopped container: %+v", got)
	}
	if got := r.run(t, "exec", "c1", "true"); got.code != 255 || !strings.Contains(got.stderr, "cannot exec in a stopped container") {
		t.Errorf("exec in a stopped container: %+v", got)
	}
	r.must(t, "delete", "c1")
	if got := r.run(t, "state", "c1"); got.code != 1 || !strings.Contains(got.stderr, "does not exist") {
		t.Errorf("state after delete: %+v", got)
	}
	r.must(t, "delete", "--force", "c1")
}

// TestSignals holds a process 1 to what Linux does: it ignores a TERM that it has no handler for, at any time after
// start, gets every signal that it has a handler for, and obeys KILL.
func TestSignals(t *testing.T) {
	r := newRuntime(t)
	script := "trap 'echo rt >> /got' 35; trap 'echo usr1 >> /got' USR1; echo ready >> /got; while :; do sleep 1 & wait $!; done"
	bundle := newBundle(t, []string{"sh", "-c", script})
	r.must(t, "run", "--detach", "--bundle", bundle, "c1")
	r.must(t, "kill", "c1", "TERM")
	got := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			data, _ := os.ReadFile(filepath.Join(bundle, "rootfs", "got"))
			if strings.Contains(string(data), want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the process wrote %q, want %q", data, want)
			}
		}
	}
	got("ready")
	r.must(t, "kill", "c1", "TERM")
	r.must(t, "kill", "c1", "USR1")
	got("usr1")
	r.must(t, "kill", "c1", "SIGRTMIN+1")
	got("rt")
	if status := r.status(t, "c1"); status != "running" {
		t.Errorf("status %q after a TERM that nobody handles", status)
	}
	r.must(t, "kill", "c1", "KILL")
	r.waitFor(t, "c1", "stopped")
}

// TestExec covers exec's codes, streams and process attributes.
func TestExec(t *testing.T) {
	r := newRuntime(t)
	r.must(t, "run", "--detach", "--bundle", newBundle(t, []string{"sleep", "1000"}), "c1")
	for name, tc := range map[string]struct {
		args   []string
		stdin  string
		code   int
		stdout string
	}{
		"code":        {[]string{"exec", "c1", "sh", "-c", "exit 7"}, "", 7, ""},
		"signal":      {[]string{"exec", "c1", "sh", "-c", "kill -TERM $$"}, "", 143, ""},
		"stdin":       {[]string{"exec", "c1", "cat"}, "through", 0, "through"},
		"half close":  {[]string{"exec", "c1", "sh", "-c", "cat; echo end"}, "x", 0, "xend\n"},
		"cwd and env": {[]string{"exec", "--cwd", "/tmp", "--env", "A=b=c", "c1", "sh", "-c", "pwd; echo $A"}, "", 0, "/tmp\nb=c\n"},
		"user":        {[]string{"exec", "--user", "1000:1000", "-g", "2000", "c1", "id"}, "", 0, "uid=1000(user) gid=1000(user) groups=2000(extra)\n"},
		"missing":     {[]string{"exec", "c1", "/no/such"}, "", 255, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.runWith(t, tc.stdin, tc.args...)
			if got.code != tc.code || got.stdout != tc.stdout {
				t.Errorf("code %d, stdout %q; want %d, %q", got.code, got.stdout, tc.code, tc.stdout)
			}
		})
	}
	t.Run("detached", func(t *testing.T) {
		pidFile := filepath.Join(t.TempDir(), "pid")
		r.must(t, "exec", "--detach", "--pid-file", pidFile, "c1", "sh", "-c", "echo done > /detached")
		if _, err := os.Stat(pidFile); err != nil {
			t.Error(err)
		}
		deadline := time.Now().Add(time.Minute)
		for r.run(t, "exec", "c1", "cat", "/detached").stdout != "done\n" {
			if time.Now().After(deadline) {
				t.Fatal("the detached process did not run")
			}
		}
	})
	t.Run("bytes", func(t *testing.T) {
		data := strings.Repeat("\x00\xff\r\n\x04binary", 100_000)
		if got := r.runWith(t, data, "exec", "c1", "cat"); got.stdout != data {
			t.Errorf("%d bytes came back of %d", len(got.stdout), len(data))
		}
	})
	t.Run("closed stdout", func(t *testing.T) {
		got := r.run(t, "exec", "c1", "sh", "-c", "exec >&- 2>&-; sleep 1; exit 9")
		if got.code != 9 {
			t.Errorf("a process that closed its outputs ended with %d, want 9", got.code)
		}
	})
}

// TestProcess checks that what config.json says of a process holds in the guest.
func TestProcess(t *testing.T) {
	r := newRuntime(t)
	umask := uint32(0o027)
	oom := 500
	script := "id; umask; ulimit -n; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; cat /proc/self/oom_score_adj; pwd; " +
		"cat /proc/sys/net/ipv4/ip_forward; cat /proc/sys/kernel/msgmax; cat /proc/sys/vm/swappiness; hostname; cat /proc/sys/kernel/domainname; " +
		"cat /proc/keys | wc -c; mkdir /blocked 2>&1 | grep -c 'not permitted'"
	bundle := newBundle(t, []string{"sh", "-c", script}, func(s *specs.Spec) {
		s.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{2000}, Umask: &umask}
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 2222, Hard: 1 << 20}}
		s.Process.NoNewPrivileges = true
		s.Process.OOMScoreAdj = &oom
		s.Process.Cwd = "/tmp"
		s.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding: []string{"CAP_KILL"}, Effective: []string{"CAP_KILL"}, Permitted: []string{"CAP_KILL"},
			Inheritable: []string{"CAP_KILL"}, Ambient: []string{"CAP_KILL"},
		}
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.msgmax": "12345", "vm.swappiness": "17"}
		s.Domainname = "example.org"
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64},
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno}},
		}
	})
	got := r.run(t, "run", "--bundle", bundle, "c1")
	want := "uid=1000(user) gid=1000(user) groups=2000(extra)\n0027\n2222\nCapEff:\t0000000000000020\n" +
		"NoNewPrivs:\t1\nSeccomp:\t2\n500\n/tmp\n1\n12345\n17\nguest\nexample.org\n0\n1\n"
	if got.code != 0 && got.code != 1 || got.stdout != want {
		t.Errorf("code %d, got\n%s\nwant\n%s", got.code, got.stdout, want)
	}
}

// TestBadInput: each is one clear line, the right code, and leaves nothing (newRuntime checks).
func TestBadInput(t *testing.T) {
	r := newRuntime(t)
	good := newBundle(t, []string{"true"})
	edit := func(change func(*specs.Spec)) string { return newBundle(t, []string{"true"}, change) }
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "config.json"), []byte("{ broken"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		env  []string
		code int
		want string
	}{
		"missing bundle":     {[]string{"create", "--bundle", "/no/such", "c1"}, nil, 1, "no such file or directory"},
		"missing config":     {[]string{"create", "--bundle", t.TempDir(), "c1"}, nil, 1, "config.json not found"},
		"broken JSON":        {[]string{"create", "--bundle", broken, "c1"}, nil, 1, "invalid character"},
		"bad id":             {[]string{"create", "--bundle", good, "../x"}, nil, 1, "invalid container ID format"},
		"no id":              {[]string{"create", "--bundle", good}, nil, 1, "requires exactly 1 argument"},
		"wrong flag":         {[]string{"create", "--nonsense", "c1"}, nil, 1, "nonsense"},
		"wrong command":      {[]string{"frobnicate"}, nil, 3, "No help topic for 'frobnicate'"},
		"unknown id":         {[]string{"state", "nobody"}, nil, 1, "does not exist"},
		"kill unknown":       {[]string{"kill", "nobody"}, nil, 1, "does not exist"},
		"start unknown":      {[]string{"start", "nobody"}, nil, 1, "does not exist"},
		"delete unknown":     {[]string{"delete", "nobody"}, nil, 1, "does not exist"},
		"exec unknown":       {[]string{"exec", "nobody", "true"}, nil, 255, "does not exist"},
		"missing program":    {[]string{"run", "--bundle", edit(func(s *specs.Spec) { s.Process.Args = []string{"nosuch"} }), "c1"}, nil, 1, "executable file not found in $PATH"},
		"missing path":       {[]string{"run", "--bundle", edit(func(s *specs.Spec) { s.Process.Args = []string{"/no/such"} }), "c1"}, nil, 1, "no such file or directory"},
		"not executable":     {[]string{"run", "--bundle", edit(func(s *specs.Spec) { s.Process.Args = []string{"/etc/passwd"} }), "c1"}, nil, 1, "permission denied"},
		"missing rootfs":     {[]string{"create", "--bundle", edit(func(s *specs.Spec) { s.Root.Path = "nowhere" }), "c1"}, nil, 1, "nowhere"},
		"missing volume":     {[]string{"create", "--bundle", edit(func(s *specs.Spec) { s.Mounts = append(s.Mounts, bind("/no/such", "/v")) }), "c1"}, nil, 1, "/no/such"},
		"host network":       {[]string{"create", "--bundle", edit(func(s *specs.Spec) { s.Linux.Namespaces = slices.Delete(s.Linux.Namespaces, 1, 2) }), "c1"}, nil, 1, "host's network"},
		"spec of the future": {[]string{"create", "--bundle", edit(func(s *specs.Spec) { s.Version = "2.0.0" }), "c1"}, nil, 1, "2.0.0"},
		"no kernel":          {[]string{"create", "--bundle", good, "c1"}, config(t, "[guest]\nkernel = \"/no/kernel\"\ninitramfs = \"/no/initramfs\"\n"), 1, "/no/kernel"},
		"no QEMU":            {[]string{"create", "--bundle", good, "c1"}, config(t, "qemu_path = \"/no/qemu\"\n"), 1, "/no/qemu"},
		"broken settings":    {[]string{"create", "--bundle", good, "c1"}, config(t, "nonsense = 1\n"), 1, "nonsense"},
		"tty without socket": {[]string{"create", "--bundle", edit(func(s *specs.Spec) { s.Process.Terminal = true }), "c1"}, nil, 1, "cannot allocate tty"},
	} {
		t.Run(name, func(t *testing.T) {
			r.env = tc.env
			defer func() { r.env = nil }()
			log := filepath.Join(t.TempDir(), "log.json")
			got := r.run(t, append([]string{"--log", log, "--log-format", "json"}, tc.args...)...)
			if got.code != tc.code || !strings.Contains(got.stderr, tc.want) {
				t.Errorf("code %d, stderr %q; want %d and %q", got.code, got.stderr, tc.code, tc.want)
			}
			if lines := strings.Count(strings.TrimSpace(got.stderr), "\n"); lines > 0 {
				t.Errorf("%d lines on stderr, want one: %q", lines+1, got.stderr)
			}
			if name == "wrong flag" {
				return // refused before the log is open
			}
			if level, message := lastLogLine(t, log); level != "error" || !strings.Contains(message, tc.want) {
				t.Errorf("log: level %q, message %q", level, message)
			}
			if got := r.run(t, "list", "--quiet"); got.stdout != "" {
				t.Errorf("containers left: %q", got.stdout)
			}
		})
	}
}

// TestNewerSpec: engines write the version they were built with.
func TestNewerSpec(t *testing.T) {
	r := newRuntime(t)
	for _, version := range []string{"1.0.0", "1.2.1", "1.3.0+dev", "1.99.0-dev"} {
		bundle := newBundle(t, []string{"true"}, func(s *specs.Spec) { s.Version = version })
		if got := r.run(t, "run", "--bundle", bundle, "c1"); got.code != 0 {
			t.Errorf("ociVersion %s: %+v", version, got)
		}
	}
}

// lastLogLine returns level and message of the last line of a JSON log, the one that engines read.
func lastLogLine(t *testing.T, path string) (level, message string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	var entry struct{ Level, Msg string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &entry); err != nil {
		t.Fatalf("log %q: %v", data, err)
	}
	return entry.Level, entry.Msg
}

// config writes a configuration and returns the environment that names it. Unless it says otherwise no template is made
// of its machine.
func config(t *testing.T, text string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if !strings.Contains(text, "template =") {
		text = "template = \"off\"\n" + text
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"RUNVM_CONFIG=" + path}
}

// bind is a bind mount.
func bind(source, destination string, options ...string) specs.Mount {
	return specs.Mount{Source: source, Destination: destination, Type: "bind", Options: append([]string{"rbind"}, options...)}
}
