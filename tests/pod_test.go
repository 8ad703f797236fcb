//go:build e2e

package tests

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// bootID differs from one virtual machine to the other.
const bootID = "/proc/sys/kernel/random/boot_id"

// inPod gives a container CRI-O's annotations; an empty sandbox makes it the pod's own container.
func inPod(sandbox string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Annotations = map[string]string{"io.kubernetes.cri-o.ContainerType": "sandbox"}
		if sandbox != "" {
			s.Annotations = map[string]string{
				"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxID": sandbox,
			}
		}
	}
}

// sharing makes a container share namespaces of the process.
func sharing(pid int, kinds ...specs.LinuxNamespaceType) func(*specs.Spec) {
	return func(s *specs.Spec) {
		for i, ns := range s.Linux.Namespaces {
			for _, kind := range kinds {
				if ns.Type == kind {
					s.Linux.Namespaces[i].Path = "/proc/" + strconv.Itoa(pid) + "/ns/" + string(kind)
				}
				if kind == specs.UTSNamespace {
					s.Hostname = ""
				}
			}
		}
	}
}

var sleeper = []string{"sleep", "1000"}

// launch creates and starts a container, and returns the pid of its shim.
func (r *runtime) launch(t *testing.T, id string, args []string, change ...func(*specs.Spec)) int {
	t.Helper()
	r.must(t, "run", "--detach", "--bundle", newBundle(t, args, change...), id)
	return r.state(t, id).PID
}

// sandboxes are the sandboxes that are left.
func (r *runtime) sandboxes() []string { return names(filepath.Join(r.root, ",sandboxes")) }

// TestPod: containers of one pod are in one virtual machine, told by CRI-O's annotations and by the paths of namespaces.
// One may end, and come back, while others live; the virtual machine ends with the last one.
func TestPod(t *testing.T) {
	r := newRuntime(t)
	netns := inNamespace(namespace(t, "runvm-pod"))
	t.Cleanup(func() {
		for _, controller := range names("/sys/fs/cgroup") {
			_ = os.Remove("/sys/fs/cgroup/" + controller + "/runvm-test-pod") // the pod's own is not the runtime's
		}
	})
	s := r.launch(t, "s", sleeper, inPod(""), netns, withCgroup("runvm-test-pod/s"))
	server := []string{"sh", "-c", "mkdir /www; echo page > /www/index.html; exec httpd -f -p 8080 -h /www"}
	m := newBundle(t, server, inPod("s"), netns, withCgroup("runvm-test-pod/m"))
	shared := sharing(s, specs.IPCNamespace, specs.UTSNamespace, specs.PIDNamespace)
	all := newBundle(t, sleeper, inPod("s"), netns, shared, withCgroup("runvm-test-pod/all"))
	again := newBundle(t, sleeper, inPod("s"), netns, withCgroup("runvm-test-pod/m"))
	var joining sync.WaitGroup // two at once
	joining.Go(func() { r.run(t, "run", "--detach", "--bundle", m, "m") })
	joining.Go(func() { r.run(t, "run", "--detach", "--bundle", all, "all") })
	joining.Wait()

	boot := r.must(t, "exec", "s", "cat", bootID)
	for _, id := range []string{"m", "all"} {
		if got := r.must(t, "exec", id, "cat", bootID); got != boot {
			t.Errorf("%s has boot id %q, the sandbox %q", id, got, boot)
		}
	}
	r.checkSharing(t)
	if got := r.must(t, "exec", "s", "wget", "-qO-", "http://127.0.0.1:8080/"); got != "page\n" {
		t.Errorf("over localhost: %q", got)
	}
	if got := r.sandboxes(); len(got) != 1 {
		t.Errorf("sandboxes: %v", got)
	}

	t.Run("one ends and comes back", func(t *testing.T) {
		daemon := members(t, "runvm-test-pod/runvm-")["virtiofsd"]
		r.must(t, "kill", "m", "KILL")
		r.waitFor(t, "m", "stopped")
		r.must(t, "delete", "m")
		for _, pid := range daemon {
			dir := "/proc/" + strconv.Itoa(pid)
			for _, fd := range names(dir + "/fd") {
				if target, _ := os.Readlink(filepath.Join(dir, "fd", fd)); strings.HasSuffix(target, "/www/index.html") {
					t.Errorf("virtiofsd has %s open", target)
				}
			}
			if mounts, err := os.ReadFile(dir + "/mountinfo"); err != nil || strings.Contains(string(mounts), m) {
				t.Errorf("virtiofsd has a mount of %s: %v\n%s", m, err, mounts)
			}
		}
		if len(daemon) == 0 {
			t.Error("no virtiofsd in the sandbox's cgroup")
		}
		r.must(t, "run", "--detach", "--bundle", again, "m")
		if got := r.must(t, "exec", "m", "cat", bootID); got != boot {
			t.Errorf("boot id %q, want %q", got, boot)
		}
	})
	t.Run("namespaces of another virtual machine", func(t *testing.T) {
		other := inNamespace(namespace(t, "runvm-pod2"))
		got := r.run(t, "create", "--bundle", newBundle(t, sleeper, other, sharing(s, specs.IPCNamespace)), "foreign")
		if got.code != 1 || !strings.Contains(got.stderr, "/ns/ipc belongs to container ") || !strings.Contains(got.stderr, "share its network namespace, too") {
			t.Errorf("%+v", got)
		}
		got = r.run(t, "create", "--bundle", newBundle(t, sleeper, other, sharing(foreignIPC(t), specs.IPCNamespace)), "foreign")
		if got.code != 1 || !strings.Contains(got.stderr, "is in no virtual machine") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("one that fails", func(t *testing.T) {
		for want, change := range map[string]func(*specs.Spec){
			"createRuntime hook": func(s *specs.Spec) {
				s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}}
			},
			"nosuchprogram": func(s *specs.Spec) { s.Process.Args = []string{"nosuchprogram"} },
		} {
			got := r.run(t, "create", "--bundle", newBundle(t, sleeper, inPod("s"), netns, change), "failing")
			if got.code != 1 || !strings.Contains(got.stderr, want) {
				t.Errorf("%s: %+v", want, got)
			}
		}
		if got := r.must(t, "list", "--quiet"); strings.Contains(got, "failing") {
			t.Errorf("left: %s", got)
		}
	})
	t.Run("the first one goes first", func(t *testing.T) {
		r.must(t, "delete", "--force", "s")
		// "all" shares its PID namespace, which ends with its first process.
		r.waitFor(t, "all", "stopped")
		r.must(t, "delete", "all")
		if got := r.must(t, "exec", "m", "cat", bootID); got != boot {
			t.Errorf("boot id %q, want %q", got, boot)
		}
	})
	r.must(t, "kill", "m", "KILL")
	r.waitFor(t, "m", "stopped")
	r.must(t, "delete", "m")
	if got := r.sandboxes(); len(got) != 0 {
		t.Errorf("sandboxes left: %v", got)
	}
	if left := members(t, "runvm-test-pod"); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
}

// checkSharing: "all" has the IPC, UTS and PID namespaces of "s", "m" has its own.
func (r *runtime) checkSharing(t *testing.T) {
	t.Helper()
	r.must(t, "exec", "s", "touch", "/dev/mqueue/queue")
	r.must(t, "exec", "all", "test", "-e", "/dev/mqueue/queue")
	r.must(t, "exec", "m", "test", "!", "-e", "/dev/mqueue/queue")
	for _, kind := range []string{"ipc", "uts", "pid"} {
		read := func(id string) string { return r.must(t, "exec", id, "readlink", "/proc/self/ns/"+kind) }
		if s, all, m := read("s"), read("all"), read("m"); s != all || s == m {
			t.Errorf("%s namespaces: s %q, all %q, m %q; want the first two the same", kind, s, all, m)
		}
	}
	if got := r.must(t, "exec", "all", "hostname"); got != "guest\n" {
		t.Errorf("host name %q", got)
	}
}

// foreignIPC starts a process of nobody's with an IPC namespace of its own.
func foreignIPC(t *testing.T) int {
	t.Helper()
	pidFile := filepath.Join(t.TempDir(), "pid")
	command(t, "", "sh", "-c", "unshare --ipc sh -c 'echo $$ > "+pidFile+".new; mv "+pidFile+".new "+pidFile+"; exec sleep 1000' >/dev/null 2>&1 &")
	var pid int
	for deadline := time.Now().Add(limit); pid == 0 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		data, _ := os.ReadFile(pidFile)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(data)))
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	return pid
}

// TestPodWithoutInfra: a sandbox that nobody has made, as with CRI-O's dropped infra container, is there from its first
// member to its last. A member with another network has a virtual machine of its own, as another network stack is
// another machine.
func TestPodWithoutInfra(t *testing.T) {
	r := newRuntime(t)
	netns, pins := inNamespace(namespace(t, "runvm-lazy")), pinned(t)
	a := newBundle(t, sleeper, inPod("unknown"), netns, pins, withCgroup("lazy-a"))
	b := newBundle(t, sleeper, inPod("unknown"), netns, pins, withCgroup("lazy-b"))
	var joining sync.WaitGroup // both at once: one of them boots
	joining.Go(func() { r.run(t, "run", "--detach", "--bundle", a, "a") })
	joining.Go(func() { r.run(t, "run", "--detach", "--bundle", b, "b") })
	joining.Wait()
	// A namespace of its own that is empty does not need a virtual machine of its own.
	r.launch(t, "alone", sleeper, inPod("unknown"))
	boot := r.must(t, "exec", "a", "cat", bootID)
	for _, id := range []string{"b", "alone"} {
		if got := r.must(t, "exec", id, "cat", bootID); got != boot {
			t.Errorf("%s has boot id %q, want %q", id, got, boot)
		}
	}
	for _, kind := range []string{"net", "ipc", "uts"} {
		read := func(id string) string { return r.must(t, "exec", id, "readlink", "/proc/self/ns/"+kind) }
		if a, b, alone := read("a"), read("b"), read("alone"); a != b || a == alone {
			t.Errorf("%s namespaces: a %q, b %q, alone %q; want the first two the same", kind, a, b, alone)
		}
	}
	r.launch(t, "other", sleeper, inPod("unknown"), inNamespace(namespace(t, "runvm-lazy2")))
	if got := r.must(t, "exec", "other", "cat", bootID); got == boot {
		t.Error("a container with another network is in the same virtual machine")
	}
	for _, pid := range processesOf(t, r, "a", "monitor") {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "b", "alone"} {
		r.waitFor(t, id, "stopped")
	}
	r.must(t, "delete", "a")
	r.must(t, "delete", "b")
	// The name is free for a new virtual machine while something of the old one is left.
	r.launch(t, "b", []string{"true"}, inPod("unknown"), netns)
	r.must(t, "delete", "alone")
	r.waitFor(t, "b", "stopped")
	r.must(t, "delete", "b")
	if got := r.must(t, "exec", "other", "hostname"); got != "guest\n" {
		t.Errorf("the other virtual machine: %q", got)
	}
	r.must(t, "delete", "--force", "other")
	if got := r.sandboxes(); len(got) != 0 {
		t.Errorf("sandboxes left: %v", got)
	}
}

// pinned makes an IPC and a UTS namespace that nobody is in, as CRI-O's pinns does, and puts a container into them.
func pinned(t *testing.T) func(*specs.Spec) {
	t.Helper()
	paths := map[specs.LinuxNamespaceType]string{}
	for _, kind := range []specs.LinuxNamespaceType{specs.IPCNamespace, specs.UTSNamespace} {
		path := filepath.Join(t.TempDir(), string(kind))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := command(t, "", "unshare", "--"+string(kind)+"="+path, "true"); got.code != 0 {
			t.Fatalf("%+v", got)
		}
		t.Cleanup(func() { command(t, "", "umount", path) })
		paths[kind] = path
	}
	return func(s *specs.Spec) {
		for i, ns := range s.Linux.Namespaces {
			if path := paths[ns.Type]; path != "" {
				s.Linux.Namespaces[i].Path = path
			}
		}
	}
}

// processesOf finds a sandbox's process by its program among the relatives of a container's processes.
func processesOf(t *testing.T, r *runtime, id, kind string) []int {
	t.Helper()
	for _, name := range r.sandboxes() {
		data, err := os.ReadFile(filepath.Join(r.root, ",sandboxes", name, "sandbox.json"))
		if err == nil && strings.Contains(string(data), `"`+id+`":{"shim"`) {
			if pids := members(t, "runvm-"+name)[kind]; len(pids) > 0 {
				return pids
			}
		}
	}
	t.Fatalf("no %s in the sandbox of container %s", kind, id)
	return nil
}

// TestNamespaceOfRunc: a container of runc's keeps its network.
func TestNamespaceOfRunc(t *testing.T) {
	r := newRuntime(t)
	path := namespace(t, "runvm-runc")
	root := filepath.Join(t.TempDir(), "runc")
	runc := func(args ...string) result {
		return command(t, "", "runc", append([]string{"--root", root}, args...)...)
	}
	if got := runc("run", "--detach", "--bundle", newBundle(t, sleeper, inNamespace(path)), "native"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	defer runc("delete", "--force", "native")
	got := r.run(t, "create", "--bundle", newBundle(t, sleeper, inNamespace(path), inPod("native")), "c1")
	if got.code != 1 || !strings.Contains(got.stderr, "is in use by process") {
		t.Errorf("%+v", got)
	}
}
