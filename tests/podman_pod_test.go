//go:build e2e

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newPodmanPods is newPodman for tests that make pods.
func newPodmanPods(t *testing.T) *podmanTest {
	t.Helper()
	p := newPodman(t)
	t.Cleanup(func() {
		p.run("pod", "rm", "--all", "--force", "--time", "0")
		for _, controller := range names("/sys/fs/cgroup") {
			_ = os.Remove("/sys/fs/cgroup/" + controller + "/libpod_parent")
		}
	})
	return p
}

// serve is a web server that answers with the text.
func serve(text string) string {
	return "mkdir -p /www; echo " + text + " > /www/index.html; exec httpd -f -p 8080 -h /www"
}

// fetch asks until it is answered: a server needs a moment after its container's start.
func fetch(t *testing.T, want string, get func() result) {
	t.Helper()
	var r result
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		if r = get(); r.code == 0 && strings.Contains(r.stdout, want) {
			return
		}
	}
	t.Errorf("no %q: %+v", want, r)
}

// TestPodmanPod goes through the life of a pod: one virtual machine, one network, one host name, one set of IPC.
func TestPodmanPod(t *testing.T) {
	p := newPodmanPods(t)
	port := freePort(t)
	p.must("pod", "create", "--name", "pod", "-p", fmt.Sprintf("127.0.0.1:%d:8080", port))
	p.must("run", "-d", "--pod", "pod", "--name", "a", "busybox", "sh", "-c", serve("from-a"))
	p.must("run", "-d", "--pod", "pod", "--name", "b", "--init", "busybox", "sleep", "1000")
	boot := p.must("exec", "a", "cat", bootID)
	p.expect(0, boot, "exec", "b", "cat", bootID)
	p.expect(0, "pod", "exec", "a", "hostname")
	p.expect(0, "pod", "exec", "b", "hostname")
	p.must("exec", "a", "sh", "-c", "touch /dev/mqueue/queue; echo memory > /dev/shm/file")
	p.expect(0, "memory", "exec", "b", "sh", "-c", "ls /dev/mqueue/queue && cat /dev/shm/file")
	p.expect(0, "sleep", "exec", "b", "ps")
	if r := p.run("exec", "b", "ps"); strings.Contains(r.stdout, "httpd") {
		t.Errorf("b sees a's processes: %s", r.stdout)
	}
	local := func() result { return p.run("exec", "b", "wget", "-qO-", "http://127.0.0.1:8080/") }
	published := func() result {
		return command(t, "", "curl", "-s", "-m", "10", fmt.Sprintf("http://127.0.0.1:%d/", port))
	}
	fetch(t, "from-a", local)
	fetch(t, "from-a", published)

	p.must("restart", "--time", "0", "a")
	p.expect(0, boot, "exec", "a", "cat", bootID)
	p.expect(0, "memory", "exec", "a", "cat", "/dev/shm/file")
	fetch(t, "from-a", local)
	fetch(t, "from-a", published)
	p.must("rm", "--force", "--time", "0", "a")
	p.expect(0, boot, "exec", "b", "cat", bootID)

	p.must("pod", "stop", "--time", "0", "pod")
	p.expect(0, "137", "inspect", "--format", "{{.State.ExitCode}}", "b")
	p.must("pod", "start", "pod")
	if got := p.must("exec", "b", "cat", bootID); got == boot {
		t.Error("a pod that was stopped and started has the same virtual machine")
	}
	p.must("pod", "rm", "--force", "--time", "0", "pod")
}

// TestPodmanNetworkContainer: a container that takes another one's network is in its virtual machine, with what it
// asks for of the other's namespaces and no more.
func TestPodmanNetworkContainer(t *testing.T) {
	p := newPodman(t)
	// "rm --all" does not know the order.
	t.Cleanup(func() { p.run("rm", "--force", "--time", "0", "--depend", "x") })
	p.must("run", "-d", "--name", "x", "busybox", "sh", "-c", serve("from-x"))
	p.must("run", "-d", "--name", "y", "--network", "container:x", "busybox", "sleep", "1000")
	p.must("run", "-d", "--name", "z", "--network", "container:y", "--ipc", "container:x", "--uts", "container:x",
		"--pid", "container:x", "busybox", "sleep", "1000")
	boot := p.must("exec", "x", "cat", bootID)
	for _, name := range []string{"y", "z"} {
		p.expect(0, boot, "exec", name, "cat", bootID)
		fetch(t, "from-x", func() result { return p.run("exec", name, "wget", "-qO-", "http://127.0.0.1:8080/") })
	}
	hostname := p.must("exec", "x", "hostname")
	p.expect(0, hostname, "exec", "z", "hostname")
	if got := p.must("exec", "y", "hostname"); got == hostname {
		t.Errorf("y has x's host name %s", got)
	}
	p.must("exec", "x", "touch", "/dev/shm/file")
	p.expect(0, "", "exec", "z", "test", "-e", "/dev/shm/file")
	p.expect(1, "", "exec", "y", "test", "-e", "/dev/shm/file")
	p.expect(0, "httpd", "exec", "z", "ps")
	if r := p.run("exec", "y", "ps"); strings.Contains(r.stdout, "httpd") {
		t.Errorf("y sees x's processes: %s", r.stdout)
	}
	r := p.run("run", "--rm", "--ipc", "container:x", "busybox", "true")
	if r.code == 0 || !strings.Contains(r.stderr, "share its network namespace, too") {
		t.Errorf("another machine's IPC: %+v", r)
	}
	p.must("kill", "x")
	p.expect(0, "137", "wait", "x")
	p.expect(0, "137", "wait", "z") // its PID namespace went
	p.expect(0, boot, "exec", "y", "cat", bootID)
}

// TestPodmanPodUserns: a pod's containers have one user namespace, and what belongs to it.
func TestPodmanPodUserns(t *testing.T) {
	p := newPodmanPods(t)
	p.must("pod", "create", "--name", "mapped", "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
	for _, name := range []string{"a", "b"} {
		p.must("run", "-d", "--pod", "mapped", "--name", name, "busybox", "sleep", "1000")
		p.expect(0, "100000", "exec", name, "cat", "/proc/self/uid_map")
		p.expect(0, "0 0", "exec", name, "sh", "-c", "touch /new && stat -c '%u %g' /new")
	}
	for _, kind := range []string{"user", "ipc", "uts"} {
		link := "/proc/self/ns/" + kind
		p.expect(0, p.must("exec", "a", "readlink", link), "exec", "b", "readlink", link)
	}
	p.expect(0, p.must("exec", "a", "cat", bootID), "exec", "b", "cat", bootID)
	p.expect(0, p.must("exec", "a", "hostname", "-i"), "exec", "b", "hostname", "-i")
}

// TestPodmanKube plays a pod of two containers that see each other's processes.
func TestPodmanKube(t *testing.T) {
	p := newPodmanPods(t)
	file := filepath.Join(t.TempDir(), "pod.yaml")
	yaml := `apiVersion: v1
kind: Pod
metadata:
  name: played
spec:
  shareProcessNamespace: true
  containers:
  - name: web
    image: localhost/busybox:latest
    imagePullPolicy: Never
    command: [/bin/sh, -c, "` + serve("from-web") + `"]
    resources: {limits: {memory: 64Mi}}
  - name: side
    image: localhost/busybox:latest
    imagePullPolicy: Never
    command: [/bin/sleep, "1000"]
`
	if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	p.must("kube", "play", file)
	// The image has no PATH, and podman gives such a container none.
	p.expect(0, p.must("exec", "played-web", "/bin/cat", bootID), "exec", "played-side", "/bin/cat", bootID)
	fetch(t, "from-web", func() result { return p.run("exec", "played-side", "/bin/wget", "-qO-", "http://127.0.0.1:8080/") })
	p.expect(0, "httpd", "exec", "played-side", "/bin/ps")
	p.expect(0, "67108864", "exec", "played-web", "/bin/cat", "/sys/fs/cgroup/memory.max")
	p.must("kube", "down", file)
	if r := p.run("ps", "--all", "--quiet"); r.stdout != "" {
		t.Errorf("containers left: %s", r.stdout)
	}
}
