//go:build e2e

package tests

import "testing"

// hog uses more memory than the tests' limit of 64 MiB.
const hog = "dd if=/dev/zero of=/dev/null bs=200M count=1"

// TestPodmanLimits: podman changes limits, and says of a container that the guest's kernel has killed for memory what it says with runc, and
// does not say it of one that was killed otherwise.
func TestPodmanLimits(t *testing.T) {
	p := newPodman(t)
	inspect := []string{"inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}"}
	// conmon makes a file "oom" where podman was called.
	t.Chdir(t.TempDir())
	p.expect(137, "", "run", "--name", "hog", "--memory", "64m", "busybox", "sh", "-c", "exec "+hog)
	if got := p.must(append(inspect, "hog")...); got != "true 137" {
		t.Errorf("out of memory: %s, want true 137", got)
	}
	p.must("run", "--detach", "--name", "killed", "--memory", "64m", "busybox", "sleep", "1000")
	// update hands runvm a file with the limits.
	p.must("update", "--memory", "80m", "--cpu-period", "100000", "--cpu-quota", "40000", "killed")
	p.expect(0, "83886080\n40000 100000\n", "exec", "killed", "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max")
	p.must("kill", "killed")
	p.must("wait", "killed")
	if got := p.must(append(inspect, "killed")...); got != "false 137" {
		t.Errorf("killed by a signal: %s, want false 137", got)
	}
}
