//go:build e2e

package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPodmanSystemd: a container that is to run systemd has what systemd looks for, among it cgroups of its own that it
// may arrange but not widen, and gets its stop signal. Its cgroup on the host is where the caller wants it.
func TestPodmanSystemd(t *testing.T) {
	p := newPodman(t)
	const parent = "/runvm-parent"
	t.Cleanup(func() { // runtimes leave the parent to the caller
		dirs, err := filepath.Glob("/sys/fs/cgroup/*" + parent)
		for _, d := range dirs {
			_ = os.Remove(d)
		}
		if err != nil {
			t.Error(err)
		}
	})
	script := `
		for d in /run /run/lock /tmp /var/log/journal; do grep -q " $d .* - tmpfs " /proc/self/mountinfo && echo tmpfs $d; done
		mkdir /sys/fs/cgroup/unit && echo $$ > /sys/fs/cgroup/unit/cgroup.procs && cat /proc/self/cgroup
		echo +memory > /sys/fs/cgroup/cgroup.subtree_control && echo 1000000 > /sys/fs/cgroup/unit/memory.high && cat /sys/fs/cgroup/unit/memory.high
		echo max > /sys/fs/cgroup/memory.max 2>/dev/null || echo limit is $(cat /sys/fs/cgroup/memory.max)
		echo container is $container
		trap 'echo got the signal; exit 4' 37
		echo ready
		while :; do sleep 1 & wait $!; done`
	p.must("run", "-d", "--name", "s", "--network", "none", "--systemd", "always", "--memory", "100m",
		"--cgroup-parent", parent, "--cgroups", "no-conmon", "busybox", "sh", "-c", script)
	eventually(t, func() string { return p.run("logs", "s").stdout }, []string{
		"tmpfs /run\n", "tmpfs /run/lock\n", "tmpfs /tmp\n", "tmpfs /var/log/journal\n", "0::/unit\n", "999424\n",
		"limit is 104857600\n", "container is podman\n", "ready\n",
	}, nil)
	pid := p.must("inspect", "--format", "{{.State.Pid}}", "s")
	cgroup, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil || !strings.Contains(string(cgroup), ":memory:"+parent+"/libpod-") && !strings.Contains(string(cgroup), "0::"+parent+"/libpod-") {
		t.Errorf("on the host it is in %s, %v; want something below %s", cgroup, err, parent)
	}
	p.must("stop", "--time", "60", "s")
	p.expect(0, "4", "inspect", "--format", "{{.State.ExitCode}}", "s")
	p.expect(0, "got the signal\n", "logs", "s")
}

// TestPodmanCgroups: many options of run at once, each of which is seen in the guest.
func TestPodmanCgroups(t *testing.T) {
	p := newPodman(t)
	got := p.report(`
		echo init=$(head -c 16 /proc/1/cmdline); echo oom=$(cat /proc/self/oom_score_adj)
		echo files=$(ulimit -Sn):$(ulimit -Hn); echo core=$(ulimit -c)
		echo msgmax=$(cat /proc/sys/kernel/msgmax); echo somaxconn=$(cat /proc/sys/net/core/somaxconn)
		echo shm=$(df -k --output=size /dev/shm | tail -1); echo tmpfs=$(df -k --output=size /scratch | tail -1):$(stat -c %a /scratch)
		cp /bin/true /scratch/; /scratch/true 2>/dev/null || echo noexec=yes
		[ -e /etc/passwd ] && echo new > /etc/new && echo copyup=$(findmnt -no FSTYPE /etc)
		cd /sys/fs/cgroup; for f in pids.max memory.max memory.low memory.swap.max cpu.max; do echo $f=$(cat $f); done`,
		"--network", "none", "--init", "--oom-score-adj", "-500", "--ulimit", "nofile=2000:3000", "--ulimit", "core=0",
		"--sysctl", "kernel.msgmax=10000", "--sysctl", "net.core.somaxconn=999", "--shm-size", "5m",
		"--tmpfs", "/scratch:size=2m,mode=1770,noexec", "--tmpfs", "/etc", "--pids-limit", "77", "--memory", "200m",
		"--memory-reservation", "100m", "--memory-swap", "300m", "--cpus", "0.5", "debian")
	wantValues(t, got, map[string]string{
		"init": "/run/podman-init", "oom": "-500", "files": "2000:3000", "core": "0", "msgmax": "10000", "somaxconn": "999",
		"shm": "5120", "tmpfs": "2048:1770", "noexec": "yes", "copyup": "tmpfs", "pids.max": "77", "memory.max": "209715200",
		"memory.low": "104857600", "memory.swap.max": "104857600", "cpu.max": "50000 100000",
	})
}
