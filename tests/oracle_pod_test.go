//go:build e2e

package tests

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPodmanPodAsRunc: a pod and a container whose networks change, under runc and under runvm.
func TestPodmanPodAsRunc(t *testing.T) {
	p := newPodmanPods(t)
	// The limits under which runc runs without CAP_SYS_RESOURCE, for the infra container, too.
	conf := filepath.Join(t.TempDir(), "containers.conf")
	limits := "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n"
	if err := os.WriteFile(conf, []byte(limits), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_CONF", conf)
	fetch := []string{"exec", "@B", "sh", "-c", "until wget -qO- http://127.0.0.1:8080/ 2>/dev/null; do sleep 0.2; done"}
	addresses := func(want string) []string {
		return []string{"exec", "@S", "sh", "-c", "until [ $(ip -o -4 addr show | grep -c eth) = " + want + " ]; do sleep 0.2; done; echo " + want}
	}
	steps := []step{
		{name: "create a pod", keep: nothing, args: []string{"pod", "create", "--name", "@P"}},
		{name: "a server in it", keep: nothing, args: []string{"run", "-d", "--pod", "@P", "--name", "@A", "busybox", "sh", "-c", serve("from-a")}},
		{name: "another container", keep: nothing, args: []string{"run", "-d", "--pod", "@P", "--name", "@B", "busybox", "sleep", "1000"}},
		{name: "its host name", args: []string{"exec", "@B", "hostname"}},
		{name: "localhost", args: fetch},
		{name: "leave a queue and a file", args: []string{"exec", "@A", "sh", "-c", "touch /dev/mqueue/q; echo memory > /dev/shm/f"}},
		{name: "find them", args: []string{"exec", "@B", "sh", "-c", "ls /dev/mqueue/q; cat /dev/shm/f"}},
		{name: "processes of the other", args: []string{"exec", "@B", "sh", "-c", "ps -o args | grep -c '[h]ttpd'"}},
		{name: "restart one", keep: nothing, args: []string{"restart", "--time", "0", "@A"}},
		{name: "localhost again", args: fetch},
		{name: "what was left", args: []string{"exec", "@A", "cat", "/dev/shm/f"}},
		{name: "state", args: []string{"pod", "inspect", "--format", "{{.State}} {{.NumContainers}}", "@P"}},
		{name: "a third, for once", args: []string{"run", "--rm", "--pod", "@P", "busybox", "sh", "-c", "echo once; exit 4"}},
		{name: "stop", keep: nothing, args: []string{"pod", "stop", "--time", "0", "@P"}},
		{name: "exit code", args: []string{"inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "@B"}},
		{name: "start", keep: nothing, args: []string{"pod", "start", "@P"}},
		{name: "localhost after that", args: fetch},
		{name: "remove", keep: nothing, args: []string{"pod", "rm", "--force", "--time", "0", "@P"}},
		{name: "one network", keep: nothing, args: []string{"network", "create", "@N"}},
		{name: "another network", keep: nothing, args: []string{"network", "create", "@M"}},
		{name: "a container in one", keep: nothing, args: []string{"run", "-d", "--name", "@S", "--network", "@N", "busybox", "sleep", "1000"}},
		{name: "one address", args: addresses("1")},
		{name: "connect", args: []string{"network", "connect", "@M", "@S"}},
		{name: "two addresses", args: addresses("2")},
		{name: "share its network", args: []string{"run", "--rm", "--network", "container:@S", "busybox", "sh", "-c", "ip -o -4 addr show | grep -c eth"}},
		{name: "disconnect", args: []string{"network", "disconnect", "@N", "@S"}},
		{name: "one address again", args: addresses("1")},
		{name: "remove the container", keep: nothing, args: []string{"rm", "--force", "--time", "0", "@S"}},
	}
	want := life(t, p, "runc", steps)
	for _, o := range want {
		if o.Step == "another container" && o.Code != 0 {
			t.Fatalf("runc, the oracle, does not run here: %+v", o)
		}
	}
	if diff := cmp.Diff(want, life(t, p, runvmPath, steps)); diff != "" {
		t.Errorf("runvm differs from runc (-runc +runvm):\n%s", diff)
	}
}
