//go:build e2e

package tests

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestProcesses covers what concerns single processes of one running container.
func TestProcesses(t *testing.T) {
	r := newRuntime(t)
	id := "processes"
	bundle := newBundle(t, []string{"sleep", "1000"}, withCgroup(id), func(s *specs.Spec) {
		limit := int64(96 << 20)
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
		for i, m := range s.Mounts {
			if m.Type == "cgroup" {
				s.Mounts[i].Options = []string{"nosuid", "noexec", "nodev"}
			}
		}
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow,
			Syscalls:      []specs.LinuxSyscall{{Names: []string{"symlink", "symlinkat"}, Action: specs.ActErrno}},
		}
	})
	r.must(t, "run", "--detach", "--bundle", bundle, id)
	t.Run("process object", func(t *testing.T) { testProcessObject(t, r, id) })
	t.Run("flags", func(t *testing.T) { testExecFlags(t, r, id) })
	t.Run("detached", func(t *testing.T) { testDetachedExec(t, r, id) })
	t.Run("console socket", func(t *testing.T) { testExecConsole(t, r, id) })
	t.Run("failing writers", func(t *testing.T) { testFailingWriters(t, r, id) })
	t.Run("paused", func(t *testing.T) { testExecPaused(t, r, id) })
	t.Run("many", func(t *testing.T) { testManyExecs(t, r, id) })
	if n := len(members(t, id)["shim"]); n != 1 {
		t.Errorf("%d shims are left, want that of the container alone", n)
	}
	var left []int
	if err := json.Unmarshal([]byte(r.must(t, "ps", "--format", "json", id)), &left); err != nil || len(left) != 1 {
		t.Errorf("processes in the guest: %v (%v), want the container's own alone", left, err)
	}
}

// testManyExecs runs fifty at once, each with an input, an output and a code of its own.
func testManyExecs(t *testing.T, r *runtime, id string) {
	const count = 50
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			in := strings.Repeat(fmt.Sprintf("input %d\n", i), 1000)
			got := r.runWith(t, in, "exec", id, "sh", "-c", fmt.Sprintf("cat; echo err %d >&2; exit %d", i, i))
			if got.code != i || got.stdout != in || got.stderr != fmt.Sprintf("err %d\n", i) {
				t.Errorf("exec %d: code %d, %d bytes of output, %q", i, got.code, len(got.stdout), got.stderr)
			}
		})
	}
	wg.Wait()
}

// testProcessObject: what --process says is what the process gets, and not what the container's own has.
func testProcessObject(t *testing.T, r *runtime, id string) {
	caps := []string{"CAP_CHOWN", "CAP_NET_RAW"}
	p := specs.Process{
		Args: []string{"sh", "-c", "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; ulimit -Sn; ulimit -Hn; pwd; echo $A; ln -s x /tmp/x 2>/dev/null || echo no link"},
		Cwd:  "/tmp", Env: []string{"PATH=/bin", "A=b"},
		User:            specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{2000, 2001}},
		Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps, Inheritable: caps, Ambient: caps},
		Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 333, Hard: 444}},
		NoNewPrivileges: true, ApparmorProfile: "of-the-host", SelinuxLabel: "of:the:host",
	}
	path := filepath.Join(t.TempDir(), "process.json")
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	const set = "\t0000000000002001\n" // CAP_CHOWN is 0, CAP_NET_RAW is 13 (linux/capability.h)
	want := "Uid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t2000 2001 \n" +
		"CapInh:" + set + "CapPrm:" + set + "CapEff:" + set + "CapBnd:" + set + "CapAmb:" + set +
		"NoNewPrivs:\t1\nSeccomp:\t2\n333\n444\n/tmp\nb\nno link\n"
	if got := r.run(t, "exec", "--process", path, id); got.code != 0 || got.stdout != want {
		t.Errorf("got code %d, %q\nwant %q", got.code, got.stdout, want)
	}
}

func testExecFlags(t *testing.T, r *runtime, id string) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"capability":      {[]string{"--cap", "CAP_SYS_TIME", id, "grep", "CapEff", "/proc/self/status"}, "CapEff:\t00000000820405fb\n"},
		"no capability":   {[]string{id, "grep", "CapEff", "/proc/self/status"}, "CapEff:\t00000000800405fb\n"},
		"new privileges":  {[]string{id, "grep", "NoNewPrivs", "/proc/self/status"}, "NoNewPrivs:\t0\n"},
		"no-new-privs":    {[]string{"--no-new-privs", id, "grep", "NoNewPrivs", "/proc/self/status"}, "NoNewPrivs:\t1\n"},
		"additional gids": {[]string{"--additional-gids", "7", "--additional-gids", "8", id, "grep", "Groups", "/proc/self/status"}, "Groups:\t7 8 \n"},
		"no terminal":     {[]string{id, "sh", "-c", "tty; true"}, "not a tty\n"},
		"labels":          {[]string{"--apparmor", "x", "--process-label", "y", id, "echo", "fine"}, "fine\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := r.run(t, append([]string{"exec"}, tc.args...)...); got.code != 0 || got.stdout != tc.want {
				t.Errorf("got %+v, want %q", got, tc.want)
			}
		})
	}
	t.Run("cgroup", func(t *testing.T) {
		r.must(t, "exec", id, "mkdir", "/sys/fs/cgroup/below")
		if got := r.must(t, "exec", "--cgroup", "below", id, "cat", "/proc/self/cgroup"); got != "0::/below\n" {
			t.Errorf("the process is in %q", got)
		}
		if got := r.run(t, "exec", "--cgroup", "none", id, "true"); got.code != 255 || !strings.Contains(got.stderr, "none") {
			t.Errorf("%+v", got)
		}
	})
	for signal, want := range map[string]int{"TERM": 143, "KILL": 137, "HUP": 129, "USR2": 140} {
		if got := r.run(t, "exec", id, "sh", "-c", "kill -"+signal+" $$; sleep 100"); got.code != want {
			t.Errorf("%s: code %d, want %d", signal, got.code, want)
		}
	}
}

// testDetachedExec: the process becomes a child of the caller's subreaper, its pid file comes last, and a signal to
// that pid is one to the process.
func testDetachedExec(t *testing.T, r *runtime, id string) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	for name, tc := range map[string]struct {
		script string
		signal unix.Signal
		code   int
	}{
		"exit":    {"exit 9", 0, 9},
		"default": {"exec sleep 1000", unix.SIGTERM, 143},
		"kill":    {"exec sleep 1000", unix.SIGKILL, 137},
		"handler": {"trap 'exit 5' USR1; echo x > /dev/stdout; while :; do sleep 0.1; done", unix.SIGUSR1, 5},
	} {
		t.Run(name, func(t *testing.T) {
			pidFile := filepath.Join(t.TempDir(), "pid")
			out, w := pipe(t)
			c := r.startWith(t, nil, []*os.File{w}, "exec", "--detach", "--preserve-fds", "1", "--pid-file", pidFile, id,
				"sh", "-c", "exec >&3 3>&-; "+tc.script)
			if code := c.code(t); code != 0 {
				t.Fatal(code)
			}
			data, err := os.ReadFile(pidFile)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(string(data))
			if err != nil {
				t.Fatal(err)
			}
			if name == "handler" {
				_, _ = out.Read(make([]byte, 1))
			}
			if tc.signal != 0 {
				if err := unix.Kill(pid, tc.signal); err != nil {
					t.Error(err)
				}
			}
			var status unix.WaitStatus
			if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
				t.Fatalf("wait for %d: %v", pid, err)
			}
			code := status.ExitStatus()
			if status.Signaled() {
				code = 128 + int(status.Signal())
			}
			if code != tc.code {
				t.Errorf("code %d, want %d", code, tc.code)
			}
		})
	}
}

// testExecConsole receives the terminal of a detached process and talks to it.
func testExecConsole(t *testing.T, r *runtime, id string) {
	dir, err := os.MkdirTemp("", "console")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := r.startWith(t, nil, nil, "exec", "--detach", "--tty", "--console-socket", l.Addr().String(), id, "sh", "-c", "tty; read x; echo got $x")
	_ = l.SetDeadline(time.Now().Add(limit))
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 4096), oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%v, %v", messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%v, %v", fds, err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	terminal := os.NewFile(uintptr(fds[0]), "terminal")
	defer terminal.Close()
	if code := c.code(t); code != 0 {
		t.Errorf("code %d", code)
	}
	_, _ = terminal.WriteString("word\n")
	_ = terminal.SetReadDeadline(time.Now().Add(limit))
	var text string
	for buf := make([]byte, 4096); ; {
		n, err := terminal.Read(buf)
		text += string(buf[:n])
		if err != nil {
			break // EIO: nobody has the other side open any more
		}
	}
	if !strings.Contains(text, "/dev/pts/") || !strings.Contains(text, "got word") {
		t.Errorf("the terminal said %q", text)
	}
}

// testFailingWriters: an output that cannot be written on the host ends the writer in the guest.
func testFailingWriters(t *testing.T, r *runtime, id string) {
	exec := runvmPath + " --root " + r.root + " exec " + id + " "
	for name, tc := range map[string]struct{ script, want string }{
		"closed pipe":           {"{ " + exec + "yes; echo code $? >&2; } | head -n 1", "y\n|code 141\n"},
		"full device":           {exec + "yes > /dev/full; echo code $?", "code 141\n|"},
		"stderr alone":          {exec + "sh -c 'yes >&2 & wait $!; echo $?' 2>/dev/full", "141\n|"},
		"output after the pipe": {exec + "sh -c 'echo one; echo two >&2; exit 4' | true; echo done", "done\n|two\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := command(t, "", "sh", "-c", tc.script)
			if got.stdout+"|"+got.stderr != tc.want {
				t.Errorf("%q, want %q", got.stdout+"|"+got.stderr, tc.want)
			}
		})
	}
}

func testExecPaused(t *testing.T, r *runtime, id string) {
	r.must(t, "pause", id)
	if got := r.run(t, "exec", id, "true"); got.code != 255 || !strings.Contains(got.stderr, "cannot exec in a paused container (use --ignore-paused to override)") {
		t.Errorf("%+v", got)
	}
	c := r.startWith(t, nil, nil, "exec", "--ignore-paused", id, "sh", "-c", "exit 6")
	r.must(t, "resume", id)
	if code := c.code(t); code != 6 {
		t.Errorf("code %d", code)
	}
}
