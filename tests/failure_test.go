//go:build e2e

package tests

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// members lists the container's processes on the host by program: every process whose parent chain or cgroup is the
// container's. The cgroup is what an administrator would look at.
func members(t *testing.T, id string) map[string][]int {
	t.Helper()
	found := map[string][]int{}
	for _, name := range names("/proc") {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		groups, err := os.ReadFile("/proc/" + name + "/cgroup")
		if err != nil || !strings.Contains(string(groups), "/"+id) {
			continue
		}
		exe, err := os.Readlink("/proc/" + name + "/exe")
		if err != nil {
			continue
		}
		kind := filepath.Base(exe)
		if kind == "runvm" {
			kind = "shim"
			if args, _ := os.ReadFile("/proc/" + name + "/cmdline"); strings.Contains(string(args), "\x00monitor\x00") {
				kind = "monitor"
			}
		}
		found[kind] = append(found[kind], pid)
	}
	return found
}

func withCgroup(id string) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Linux.CgroupsPath = "/" + id }
}

// TestKilledProcesses kills one process of a running container after the other: the container stops, delete works, and
// nothing is left.
func TestKilledProcesses(t *testing.T) {
	for _, victim := range []string{"shim", "monitor", "virtiofsd", "qemu-system-x86_64"} {
		t.Run(victim, func(t *testing.T) {
			r := newRuntime(t)
			id := "killed-" + victim
			r.must(t, "run", "--detach", "--bundle", newBundle(t, []string{"sleep", "1000"}, withCgroup(id)), id)
			processes := members(t, id)
			for _, kind := range []string{"shim", "monitor", "virtiofsd", "qemu-system-x86_64"} {
				if len(processes[kind]) == 0 {
					t.Fatalf("no %s in the container's cgroup: %v", kind, processes)
				}
			}
			for _, pid := range processes[victim] {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			r.waitFor(t, id, "stopped")
			r.must(t, "delete", "--force", id)
			r.must(t, "delete", "--force", id)
			if left := members(t, id); len(left) > 0 {
				t.Errorf("processes left: %v", left)
			}
		})
	}
}

// TestKilledCreate kills create at work: whatever it has made goes, at the latest with delete --force.
func TestKilledCreate(t *testing.T) {
	r := newRuntime(t)
	bundle := newBundle(t, []string{"sleep", "1000"}, withCgroup("killed-create"))
	for _, delay := range []string{"0.02", "0.1", "0.3", "0.8", "1.6"} {
		command(t, "", "timeout", "--signal=KILL", delay, runvmPath, "--root", r.root, "create", "--bundle", bundle, "c1")
		r.must(t, "delete", "--force", "c1")
		if left := members(t, "killed-create"); len(left) > 0 {
			t.Errorf("after %s s: processes left: %v", delay, left)
		}
	}
	// The id is free again.
	if got := r.run(t, "run", "--bundle", newBundle(t, []string{"echo", "again"}), "c1"); got.stdout != "again\n" {
		t.Errorf("%+v", got)
	}
}

// TestInterruptedCreate: a create that is told to end leaves nothing, without delete.
func TestInterruptedCreate(t *testing.T) {
	r := newRuntime(t)
	bundle := newBundle(t, []string{"sleep", "1000"}, withCgroup("interrupted"))
	for _, delay := range []string{"0.1", "0.6"} {
		command(t, "", "timeout", "--signal=TERM", delay, runvmPath, "--root", r.root, "create", "--bundle", bundle, "c1")
		if got := r.must(t, "list", "--quiet"); got != "" {
			t.Errorf("after %s s: containers left: %q", delay, got)
		}
		if left := members(t, "interrupted"); len(left) > 0 {
			t.Errorf("after %s s: processes left: %v", delay, left)
		}
	}
}

// TestStdioOwner: the caller's stdio stays as it is, even /dev/null and even for a user other than root.
func TestStdioOwner(t *testing.T) {
	r := newRuntime(t)
	var before, after syscall.Stat_t
	if err := syscall.Stat("/dev/null", &before); err != nil {
		t.Fatal(err)
	}
	bundle := newBundle(t, []string{"sh", "-c", "echo x > /dev/stdout"}, func(s *specs.Spec) { s.Process.User.UID = 1000 })
	out := filepath.Join(t.TempDir(), "out")
	script := runvmPath + " --root " + r.root + " run --bundle " + bundle + " c1 < /dev/null > " + out + " 2> /dev/null"
	command(t, "", "sh", "-c", script)
	if err := syscall.Stat("/dev/null", &after); err != nil {
		t.Fatal(err)
	}
	if before.Uid != after.Uid || before.Gid != after.Gid || before.Mode != after.Mode {
		t.Errorf("/dev/null was %d:%d %o and is %d:%d %o", before.Uid, before.Gid, before.Mode, after.Uid, after.Gid, after.Mode)
	}
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 0 {
		t.Errorf("the output file now belongs to %d", s.Uid)
	}
	if data, _ := os.ReadFile(out); string(data) != "x\n" {
		t.Errorf("the process wrote %q", data)
	}
}

// TestInheritedDescriptors: nothing that the caller had open stays open in a long-lived process.
func TestInheritedDescriptors(t *testing.T) {
	r := newRuntime(t)
	leak := filepath.Join(t.TempDir(), "leak")
	bundle := newBundle(t, []string{"sleep", "1000"}, withCgroup("inherited"))
	script := "exec 7<> " + leak + "; exec 9<> " + leak + "; exec " + runvmPath + " --root " + r.root + " run --detach --bundle " + bundle + " c1 >/dev/null 2>&1"
	command(t, "", "sh", "-c", script)
	found := 0
	for kind, pids := range members(t, "inherited") {
		for _, pid := range pids {
			found++
			dir := "/proc/" + strconv.Itoa(pid) + "/fd"
			for _, fd := range names(dir) {
				if target, _ := os.Readlink(filepath.Join(dir, fd)); target == leak {
					t.Errorf("%s (%d) has the caller's file open as %s", kind, pid, fd)
				}
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d processes found", found)
	}
}

// TestConfinement looks at QEMU from outside.
func TestConfinement(t *testing.T) {
	r := newRuntime(t)
	r.must(t, "run", "--detach", "--bundle", newBundle(t, []string{"sleep", "1000"}, withCgroup("confined")), "c1")
	pids := members(t, "confined")["qemu-system-x86_64"]
	if len(pids) != 1 {
		t.Fatalf("QEMU processes: %v", pids)
	}
	dir := "/proc/" + strconv.Itoa(pids[0])
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(status)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[key] = strings.TrimSpace(value)
		}
	}
	for _, key := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if fields[key] != "0000000000000000" {
			t.Errorf("%s is %s", key, fields[key])
		}
	}
	if fields["NoNewPrivs"] != "1" || fields["Seccomp"] != "2" || fields["Groups"] != "" {
		t.Errorf("NoNewPrivs %s, Seccomp %s, Groups %q", fields["NoNewPrivs"], fields["Seccomp"], fields["Groups"])
	}
	for _, id := range strings.Fields(fields["Uid"] + " " + fields["Gid"]) {
		if n, _ := strconv.Atoi(id); n < 1<<16 {
			t.Errorf("QEMU runs with id %s", id)
		}
	}
	own, _ := os.Readlink("/proc/self/ns/mnt")
	if its, _ := os.Readlink(dir + "/ns/mnt"); its == own || its == "" {
		t.Errorf("QEMU's mount namespace is %q, ours %q", its, own)
	}
	// The guest image is bound where it is: below the build directory there is the way to it and nothing else.
	image := filepath.Join(buildDir, "guest")
	allowed := []string{"bin", "sbin", "lib", "lib64", "lib32", "libx32", "usr", "dev", "vm", "memory"}
	for _, name := range names(dir + "/root") {
		if !slices.Contains(allowed, name) && !strings.HasPrefix(image, "/"+name+"/") {
			t.Errorf("QEMU sees /%s", name)
		}
	}
	for way := image; way != "/"; way = filepath.Dir(way) {
		entries := names(dir + "/root" + filepath.Dir(way))
		if filepath.Dir(way) != "/" && filepath.Dir(way) != "/usr" && !slices.Equal(entries, []string{filepath.Base(way)}) {
			t.Errorf("QEMU sees %v in %s", entries, filepath.Dir(way))
		}
	}
	for _, secret := range []string{"/etc/shadow", "/etc/passwd", "/root/.bashrc", "/proc/self", "/run/runvm", r.root} {
		if _, err := os.Stat(dir + "/root" + secret); err == nil {
			t.Errorf("QEMU sees the host's %s", secret)
		}
	}
	cmdline, _ := os.ReadFile(dir + "/cmdline")
	for _, want := range []string{"-sandbox\x00on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", "-nodefaults"} {
		if !strings.Contains(string(cmdline), want) {
			t.Errorf("QEMU's command line lacks %q", want)
		}
	}
}

// TestStatePermissions: nobody but root reads what is in the state directory.
func TestStatePermissions(t *testing.T) {
	r := newRuntime(t)
	r.must(t, "create", "--bundle", newBundle(t, []string{"true"}), "c1")
	for path, want := range map[string]os.FileMode{
		"c1": 0o700, "c1/state.json": 0o600,
	} {
		info, err := os.Stat(filepath.Join(r.root, path))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
}
