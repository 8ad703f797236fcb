//go:build privileged

package vmm

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// status reads /proc/PID/status, or that of one of its threads.
func status(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		fields[key] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

func proc(p *Process, name string) string { return fmt.Sprintf("/proc/%d/%s", p.Pid(), name) }

// TestJail looks at a running QEMU from outside.
func TestJail(t *testing.T) {
	v := newTestVM(t)
	before := mountCount(t)
	p := v.start(t)
	v.booted(t, p)
	id := fmt.Sprint(testUID)
	ids := strings.Join([]string{id, id, id, id}, " ")
	none := "0000000000000000"
	threads, err := filepath.Glob(proc(p, "task/*/status"))
	if err != nil || len(threads) < 3 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		got := status(t, thread)
		for key, want := range map[string]string{
			"Uid": ids, "Gid": ids, "Groups": "", "NoNewPrivs": "1", "Seccomp": "2",
			"CapEff": none, "CapPrm": none, "CapInh": none, "CapBnd": none, "CapAmb": none,
		} {
			if got[key] != want {
				t.Errorf("%s: %s is %q, want %q", thread, key, got[key], want)
			}
		}
	}
	checkRoot(t, p)
	checkDescriptors(t, p)
	for _, ns := range []string{"mnt", "pid", "ipc", "uts"} {
		if sameNamespace(t, p, ns) {
			t.Errorf("QEMU is in the host's %s namespace", ns)
		}
	}
	if !sameNamespace(t, p, "net") {
		t.Error("QEMU is not in the caller's network namespace")
	}
	limits, err := os.ReadFile(proc(p, "limits"))
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "core file size 0 0") {
		t.Errorf("limits: %v\n%s", err, limits)
	}
	if after := mountCount(t); after != before {
		t.Errorf("%d mounts on the host, %d before", after, before)
	}
}

// checkRoot checks what QEMU sees of the host's file system.
func checkRoot(t *testing.T, p *Process) {
	t.Helper()
	entries, err := os.ReadDir(proc(p, "root"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if slices.Contains([]string{"home", "etc", "root", "run", "proc", "sys", "var"}, e.Name()) {
			t.Errorf("the jail has a /%s", e.Name())
		}
	}
	f, err := os.Open(proc(p, "mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		options := strings.Split(fields[5], ",")
		if !slices.Contains(options, "ro") || !slices.Contains(options, "nosuid") {
			t.Errorf("mount %s is %s", fields[4], fields[5])
		}
		if fields[4] != "/" && !slices.Contains(options, "nodev") {
			t.Errorf("mount %s has device nodes", fields[4])
		}
		if fields[6] != "-" {
			t.Errorf("mount %s propagates: %s", fields[4], fields[6])
		}
	}
	nodes, err := filepath.Glob(proc(p, "root/dev/*"))
	if err != nil || len(nodes) != 2 {
		t.Errorf("devices %v, %v", nodes, err)
	}
}

// checkDescriptors checks that QEMU has nothing of this process but what it was lent.
func checkDescriptors(t *testing.T, p *Process) {
	t.Helper()
	entries, err := os.ReadDir(proc(p, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		target, err := os.Readlink(proc(p, "fd/"+e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		known := slices.ContainsFunc([]string{
			"socket:", "anon_inode:", "pipe:", "/dev/null", "/dev/urandom", "/memfd:ram0", "/memfd:memory-backend-memfd",
		}, func(prefix string) bool { return strings.HasPrefix(target, prefix) })
		if !known {
			t.Errorf("descriptor %s is %s", e.Name(), target)
		}
	}
}

func sameNamespace(t *testing.T, p *Process, ns string) bool {
	t.Helper()
	// Not "self": that is the first thread, which tap may have taken to another network namespace.
	own, err := os.Readlink("/proc/thread-self/ns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.Readlink(proc(p, "ns/"+ns))
	if err != nil {
		t.Fatal(err)
	}
	return own == other
}

func mountCount(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// TestJail9P checks the privileges that a 9p share needs, and that mounts made later reach it.
func TestJail9P(t *testing.T) {
	v := newTestVM(t)
	shared := filepath.Join(filepath.Dir(v.dir), "shared")
	mount(t, shared)
	if err := unix.Mount("", shared, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	v.config.SharedMemory, v.config.Share = false, &Share{Type: Share9P, Tag: "t,x=1", Path: "/sh,ared"}
	v.jail.KeepRoot = true
	v.jail.Binds = append(v.jail.Binds, Bind{Source: shared, Target: "/sh,ared", Slave: true})
	p := v.start(t)
	v.booted(t, p)
	got := status(t, proc(p, "status"))
	want := fmt.Sprintf("%016x", capabilityMask(shareCapabilities()))
	for key, value := range map[string]string{
		"Uid": "0 0 0 0", "Gid": "0 0 0 0", "Groups": "", "CapEff": want, "CapPrm": want, "CapBnd": want,
		"CapInh": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
	} {
		if got[key] != value {
			t.Errorf("%s is %q, want %q", key, got[key], value)
		}
	}
	mount(t, filepath.Join(shared, "later"))
	if err := os.WriteFile(filepath.Join(shared, "later", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(proc(p, "root/sh,ared/later/file")); err != nil {
		t.Errorf("a mount made later does not reach the share: %v", err)
	}
	for _, hidden := range []string{"sys", "sysrq-trigger", "kcore"} {
		if _, err := os.Stat(proc(p, "root/proc/"+hidden)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the jail has /proc/%s: %v", hidden, err)
		}
	}
}

// mount mounts a tmpfs on a new directory.
func mount(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestStartErrors checks that what goes wrong before QEMU runs comes back in words.
func TestStartErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil  func(*testVM)
		binary string
		want   string
	}{
		"no QEMU":      {func(*testVM) {}, "/nonexistent/qemu", "/nonexistent/qemu: no such file or directory: install"},
		"no kernel":    {func(v *testVM) { v.config.Kernel = "/nonexistent/kernel" }, testQEMU, "/nonexistent/kernel"},
		"no root":      {func(v *testVM) { v.jail.RootDir = "/nonexistent/root" }, testQEMU, "/nonexistent/root"},
		"no bind":      {func(v *testVM) { v.jail.Binds[0].Source = "/nonexistent/b" }, testQEMU, "/nonexistent/b"},
		"no device":    {func(v *testVM) { v.jail.Devices = []string{"/dev/nonexistent"} }, testQEMU, "/dev/nonexistent"},
		"not a device": {func(v *testVM) { v.jail.Devices = []string{"/dev"} }, testQEMU, "want a device node"},
		"no program":   {func(*testVM) {}, "/etc/hostname", "execute /etc/hostname: "},
	} {
		t.Run(name, func(t *testing.T) {
			v := newTestVM(t)
			tc.spoil(v)
			p, err := Start(v.config, tc.binary, v.jail)
			if err == nil {
				p.Kill()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %q, want %q in it", err, tc.want)
			}
		})
	}
}

// TestQEMURefuses checks that QEMU's own message is kept.
func TestQEMURefuses(t *testing.T) {
	v := newTestVM(t)
	if err := os.WriteFile(v.config.Kernel, []byte("no kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := v.start(t)
	var exit *exec.ExitError
	if err := p.Err(); !errors.As(err, &exit) || !strings.Contains(err.Error(), "kernel") {
		t.Errorf("got error %v", err)
	}
}
