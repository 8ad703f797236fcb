//go:build e2e

package tests

import "testing"

// hog uses more memory than the tests' limit of 64 MiB.
const hog = "dd if=/dev/zero of=/dev/null bs=200M count=1"

// TestPodmanOOM: podman says of a container that the guest's kernel has killed for memory what it says with runc, and
// does not say it of one that was killed otherwise.
func TestPodmanOOM(t *testing.T) {
	p := newPodman(t)
	inspect := []string{"inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}"}
	// conmon makes a file "oom" where podman was called.
	t.Chdir(t.TempDir())
	p.expect(137, "", "run", "--name", "hog", "--memory", "64m", "busybox", "sh", "-c", "exec "+hog)
	if got := p.must(append(inspect, "hog")...); got != "true 137" {
		t.Errorf("out of memory: %s, want true 137", got)
	}
	p.must("run", "--detach", "--name", "killed", "--memory", "64m", "busybox", "sleep", "1000")
	p.must("kill", "killed")
	p.must("wait", "killed")
	if got := p.must(append(inspect, "killed")...); got != "false 137" {
		t.Errorf("killed by a signal: %s, want false 137", got)
	}
}
