//go:build e2e

package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// namespace makes a named network namespace, with the commands of ip(8) in script run inside, and returns its path.
func namespace(t *testing.T, name string, script ...string) string {
	t.Helper()
	ip := func(args ...string) {
		t.Helper()
		if got := command(t, "", "ip", args...); got.code != 0 {
			t.Fatalf("ip %s: %s", strings.Join(args, " "), got.stderr)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { command(t, "", "ip", "netns", "del", name) })
	ip("-n", name, "link", "set", "lo", "up")
	for _, line := range script {
		ip(append([]string{"-n", name}, strings.Fields(line)...)...)
	}
	return "/run/netns/" + name
}

// inNamespace puts a container into the namespace at path.
func inNamespace(path string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		for i := range s.Linux.Namespaces {
			if s.Linux.Namespaces[i].Type == specs.NetworkNamespace {
				s.Linux.Namespaces[i].Path = path
			}
		}
	}
}

// twoNICs has two interfaces, addresses of both families, routes of several kinds and a neighbour. The other ends are in
// the namespace "peer".
var twoNICs = []string{
	"link add net0 address 02:00:00:00:01:02 mtu 1400 type veth peer name p0",
	"link add net1 address 02:00:00:00:01:03 type veth peer name p1",
	"link set p0 up", "link set p1 up", "link set net0 up", "link set net1 up",
	"addr add 192.0.2.2/24 dev net0", "addr add 198.51.100.2/25 dev net1",
	"addr add 2001:db8:1::2/64 dev net0 nodad",
	"route add default via 192.0.2.1 metric 77", "route add 203.0.113.0/24 via 198.51.100.1 dev net1 mtu 1300",
	"route add blackhole 10.99.0.0/16", "-6 route add default via 2001:db8:1::1",
	"route add 10.50.0.0/16 via 192.0.2.9 table 100", "rule add from 192.0.2.2 table 100 priority 500",
	"neigh add 192.0.2.50 lladdr 02:00:00:00:09:09 dev net0 nud permanent",
}

const showNetwork = "ip -o link; ip -o addr; ip route; ip -6 route; ip route show table 100; ip rule; ip neigh"

// wantNetwork is what has to stand in what showNetwork prints in the guest.
var wantNetwork = []string{
	"net0:", "mtu 1400", "02:00:00:00:01:02", "net1:", "mtu 1500", "02:00:00:00:01:03",
	"192.0.2.2/24", "198.51.100.2/25", "2001:db8:1::2/64",
	"default via 192.0.2.1 dev net0", "metric 77", "203.0.113.0/24 via 198.51.100.1 dev net1",
	"blackhole 10.99.0.0/16", "default via 2001:db8:1::1 dev net0",
	"10.50.0.0/16 via 192.0.2.9 dev net0", "500:", "from 192.0.2.2 lookup 100",
	"192.0.2.50 dev net0 lladdr 02:00:00:00:09:09",
}

// TestNetwork: the guest has the namespace's interfaces, addresses, routes, rules and neighbours, whether they were there
// before create or came between create and start, as podman and Docker make them.
func TestNetwork(t *testing.T) {
	for _, late := range []bool{false, true} {
		name := map[bool]string{false: "before create", true: "before start"}[late]
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t)
			path := namespace(t, "runvm-e2e")
			configure := func() {
				for _, line := range twoNICs {
					if got := command(t, "", "ip", append([]string{"-n", "runvm-e2e"}, strings.Fields(line)...)...); got.code != 0 {
						t.Fatalf("ip %s: %s", line, got.stderr)
					}
				}
			}
			if !late {
				configure()
			}
			bundle := newBundle(t, []string{"sh", "-c", "{ " + showNetwork + "; } > /net"}, inNamespace(path))
			r.must(t, "create", "--bundle", bundle, "c1")
			if late {
				configure()
			}
			r.must(t, "start", "c1")
			r.waitFor(t, "c1", "stopped")
			data, err := os.ReadFile(filepath.Join(bundle, "rootfs", "net"))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range wantNetwork {
				if !strings.Contains(string(data), want) {
					t.Errorf("the guest's network lacks %q", want)
				}
			}
			t.Logf("the guest's network:\n%s", data)
			r.must(t, "delete", "c1")
			for _, command := range [][]string{{"link"}, {"-n", "runvm-e2e", "link"}} {
				if out := commandOutput(t, "ip", command...); strings.Contains(out, "_rvm") {
					t.Errorf("a tap is left: %s", out)
				}
			}
			if out := commandOutput(t, "tc", "-n", "runvm-e2e", "qdisc"); strings.Contains(out, "ingress") {
				t.Errorf("a qdisc is left: %s", out)
			}
		})
	}
}

// TestNamespaceInUse: interfaces are never taken from somebody else: a second container of ours joins the first one's
// virtual machine, and any other process keeps what it has.
func TestNamespaceInUse(t *testing.T) {
	r := newRuntime(t)
	path := namespace(t, "runvm-used", twoNICs...)
	r.must(t, "create", "--bundle", newBundle(t, []string{"true"}, inNamespace(path)), "c1")
	got := r.run(t, "create", "--bundle", newBundle(t, []string{"true"}, inNamespace(path)), "c2")
	if got.code != 0 {
		t.Errorf("a second container in the namespace: %+v", got)
	}
	if qemus := strings.Count(strings.Join(processes(t), "\n"), "qemu-system"); qemus != 1 {
		t.Errorf("%d virtual machines for one namespace", qemus)
	}
	other := filepath.Join(t.TempDir(), "state")
	got = command(t, "", runvmPath, "--root", other, "create", "--bundle", newBundle(t, []string{"true"}, inNamespace(path)), "c3")
	if got.code != 1 || !strings.Contains(got.stderr, "use one --root") {
		t.Errorf("a container of another root: %+v", got)
	}
	r.must(t, "delete", "c1")
	r.must(t, "delete", "c2")
	pidFile := filepath.Join(t.TempDir(), "pid")
	command(t, "", "sh", "-c", "ip netns exec runvm-used sleep 1000 >/dev/null 2>&1 & echo $! > "+pidFile)
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	defer command(t, "", "kill", strings.TrimSpace(string(pid)))
	got = r.run(t, "create", "--bundle", newBundle(t, []string{"true"}, inNamespace(path)), "c2")
	if got.code != 1 || !strings.Contains(got.stderr, "in use by process") {
		t.Errorf("a container in another process's namespace: %+v", got)
	}
}

func commandOutput(t *testing.T, name string, args ...string) string {
	t.Helper()
	return command(t, "", name, args...).stdout
}
