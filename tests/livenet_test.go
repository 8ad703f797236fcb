//go:build e2e

package tests

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// eventually runs a command in a container until its output has every wanted text and none of the unwanted ones: the guest
// follows its namespace a moment later.
func eventually(t *testing.T, look func() string, want, not []string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		got = look()
		missing := func(s string) bool { return !strings.Contains(got, s) }
		if !anyOf(want, missing) && !anyOf(not, func(s string) bool { return !missing(s) }) {
			return
		}
	}
	t.Fatalf("the guest did not come to have %q and not %q within %v:\n%s", want, not, limit, got)
}

func anyOf(list []string, f func(string) bool) bool {
	for _, s := range list {
		if f(s) {
			return true
		}
	}
	return false
}

// withCaps gives a container's process more capabilities.
func withCaps(caps ...string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		c := s.Process.Capabilities
		all := append(slices.Clone(c.Bounding), caps...)
		c.Bounding, c.Effective, c.Permitted = all, all, all
	}
}

// TestPodmanNetworkConnect: networks come and go while the container runs, the one that it was started with included.
func TestPodmanNetworkConnect(t *testing.T) {
	p := newPodman(t)
	for _, n := range []string{"one", "two"} {
		p.must("network", "create", n)
	}
	p.must("run", "-d", "--name", "c", "--network", "one", "busybox", "sh", "-c",
		"mkdir /www; echo from-guest > /www/index.html; exec httpd -f -p 8080 -h /www")
	address := func(network string) string {
		return p.must("inspect", "--format", fmt.Sprintf("{{.NetworkSettings.Networks.%s.IPAddress}}", network), "c")
	}
	look := func() string {
		return p.run("exec", "c", "sh", "-c", "ip addr; ip route; cat /sys/class/net/*/address").stdout
	}
	fetch := func(address string) {
		t.Helper()
		got := command(t, "", "curl", "-s", "--retry", "10", "--retry-connrefused", "-m", "60", "http://"+address+":8080/")
		if got.stdout != "from-guest\n" {
			t.Errorf("from %s: %+v", address, got)
		}
	}
	first := address("one")
	fetch(first)

	p.must("network", "connect", "two", "c")
	second := address("two")
	eventually(t, look, []string{"eth0", "eth1", first + "/24", second + "/24", "default via"}, nil)
	fetch(second)
	fetch(first)

	p.must("network", "disconnect", "one", "c")
	eventually(t, look, []string{"eth1", second + "/24"}, []string{"eth0", first + "/24"})
	fetch(second)

	p.must("network", "connect", "one", "c")
	third := address("one")
	eventually(t, look, []string{"eth0", "eth1", third + "/24"}, nil)
	fetch(third)
	p.must("network", "disconnect", "two", "c")
	eventually(t, look, []string{"eth0", third + "/24"}, []string{"eth1"})
	fetch(third)
}

// TestLiveNetwork changes everything that the guest follows in a namespace, one after the other.
func TestLiveNetwork(t *testing.T) {
	r := newRuntime(t)
	r.env = config(t, "[vm]\nhotplug_ports = 1\n")
	path := namespace(t, "runvm-live", twoNICs...)
	log := filepath.Join(t.TempDir(), "log")
	r.must(t, "--log", log, "run", "--detach", "--bundle", newBundle(t, []string{"sleep", "100000"}, inNamespace(path), withCaps("CAP_NET_ADMIN")), "c1")
	look := func() string { return r.run(t, "exec", "c1", "sh", "-c", showNetwork).stdout }
	ip := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			if got := command(t, "", "ip", append([]string{"-n", "runvm-live"}, strings.Fields(line)...)...); got.code != 0 {
				t.Fatalf("ip %s: %s", line, got.stderr)
			}
		}
	}
	eventually(t, look, wantNetwork, nil)
	// What the container does itself stays.
	r.must(t, "exec", "c1", "sh", "-c", "ip addr add 203.0.113.77/32 dev net1; ip route add 10.77.0.0/16 dev net1")

	t.Run("addresses, routes, rules, neighbours", func(t *testing.T) {
		ip("addr add 192.0.2.3/24 dev net0", "addr del 2001:db8:1::2/64 dev net0", "addr add 2001:db8:1::3/64 dev net0 nodad",
			"route del 203.0.113.0/24", "route add 10.60.0.0/16 via 192.0.2.8", "route replace blackhole 10.99.0.0/16 metric 9",
			"rule del priority 500", "rule add to 10.8.0.0/16 table 100 priority 501",
			"neigh del 192.0.2.50 dev net0", "neigh add 192.0.2.51 lladdr 02:00:00:00:09:0a dev net0 nud permanent")
		eventually(t, look,
			[]string{
				"192.0.2.2/24", "192.0.2.3/24", "2001:db8:1::3/64", "10.60.0.0/16 via 192.0.2.8", "blackhole 10.99.0.0/16  metric 9",
				"501:", "to 10.8.0.0/16 lookup 100", "192.0.2.51 dev net0", "203.0.113.77/32", "10.77.0.0/16 dev net1",
				"default via 192.0.2.1 dev net0",
			},
			[]string{"2001:db8:1::2/64", "203.0.113.0/24", "500:", "192.0.2.50 "})
	})
	t.Run("state and MTU", func(t *testing.T) {
		ip("link set net1 down", "link set net0 mtu 1300")
		eventually(t, look, []string{"mtu 1300", "net1: <BROADCAST,MULTICAST>"}, []string{"mtu 1400"})
		ip("link set net1 up", "link set net0 mtu 1500") // more than the NIC had: it is plugged anew
		eventually(t, look, []string{"net1: <BROADCAST,MULTICAST,UP", "net0:", "192.0.2.3/24", "default via 192.0.2.1"},
			[]string{"mtu 1300"})
	})
	t.Run("name", func(t *testing.T) {
		ip("link set net1 down", "link set net1 name lan7", "link set lan7 up")
		eventually(t, look, []string{"lan7: <BROADCAST,MULTICAST,UP", "198.51.100.2/25"}, []string{"net1:"})
	})
	t.Run("more interfaces than ports", func(t *testing.T) {
		ip("link add net2 type veth peer name p2", "link add net3 type veth peer name p3",
			"addr add 10.2.0.2/24 dev net2", "addr add 10.3.0.2/24 dev net3", "link set net2 up", "link set net3 up")
		eventually(t, look, []string{"net2:", "10.2.0.2/24"}, []string{"net3:"})
		// The rest is followed nonetheless, and a freed port is used.
		ip("addr add 192.0.2.4/24 dev net0")
		eventually(t, look, []string{"192.0.2.4/24"}, nil)
		ip("link del net2")
		eventually(t, look, []string{"net3:", "10.3.0.2/24"}, []string{"net2:"})
		text, err := os.ReadFile(log)
		if err != nil || !strings.Contains(string(text), "raise vm.hotplug_ports") {
			t.Errorf("the log does not say what is missing: %s, %v", text, err)
		}
	})
	ip("link del net0", "link del lan7", "link del net3")
	eventually(t, look, []string{"lo:"}, []string{"net0:", "lan7:", "net3:"})
	r.must(t, "delete", "--force", "c1")
}

// TestPodmanUserNamespace: with a user namespace podman sets the network up after create. Several networks, one with a
// given address and MAC, a published port, and files whose owners on the host are the mapped ones.
func TestPodmanUserNamespace(t *testing.T) {
	p := newPodman(t)
	p.must("network", "create", "one")
	p.must("network", "create", "--subnet", "10.213.77.0/24", "two")
	dir, port := t.TempDir(), freePort(t)
	if err := os.Chown(dir, 100000, 100000); err != nil {
		t.Fatal(err)
	}
	p.must("run", "-d", "--name", "c", "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "-v", dir+":/data",
		"--network", "one", "--network", "two:ip=10.213.77.44,mac=02:11:22:33:44:55", "-p", fmt.Sprintf("127.0.0.1:%d:8080", port),
		"busybox", "sh", "-c", "touch /data/root /data/user; chown 1000:2000 /data/user; ls -ln /data > /data/list; "+
			"mkdir /www; echo mapped > /www/index.html; exec httpd -f -p 8080 -h /www")
	for _, url := range []string{fmt.Sprintf("http://127.0.0.1:%d/", port), "http://10.213.77.44:8080/"} {
		got := command(t, "", "curl", "-s", "--retry", "10", "--retry-connrefused", "-m", "60", url)
		if got.stdout != "mapped\n" {
			t.Errorf("%s: %+v", url, got)
		}
	}
	eventually(t, func() string { return p.run("exec", "c", "sh", "-c", "ip addr; cat /proc/self/uid_map").stdout },
		[]string{"eth0", "eth1", "10.213.77.44/24", "02:11:22:33:44:55", "100000      65536"}, nil)
	for file, want := range map[string][2]uint32{"root": {100000, 100000}, "user": {101000, 102000}} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, file), &st); err != nil || st.Uid != want[0] || st.Gid != want[1] {
			t.Errorf("%s belongs to %d:%d on the host, want %v; %v", file, st.Uid, st.Gid, want, err)
		}
	}
	list, err := os.ReadFile(filepath.Join(dir, "list"))
	if err != nil || !strings.Contains(string(list), " 1000     2000 ") {
		t.Errorf("in the container: %s, %v", list, err)
	}
}

// TestPodmanUserNamespaceAuto: podman takes the ids from the ranges of the user "containers". With --ulimit host it leaves
// the limits to the runtime, which hands on its own.
func TestPodmanUserNamespaceAuto(t *testing.T) {
	newPodman(t)
	ranges := filepath.Join(t.TempDir(), "ranges")
	if err := os.WriteFile(ranges, []byte("containers:1000000:200000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// In a mount namespace of its own: the host's files stay as they are.
	script := `mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid && ulimit -Ss 4096 && exec podman "$@"`
	args := append([]string{"--mount", "sh", "-c", script, ranges}, engine.flags()...)
	got := command(t, "", "unshare", append(args, "run", "--rm", "--userns=auto", "--ulimit", "host", "--network", "none",
		"busybox", "sh", "-c", "cat /proc/self/uid_map; grep stack /proc/self/limits")...)
	fields := strings.Fields(got.stdout)
	if got.code != 0 || len(fields) < 3 || fields[0] != "0" || fields[1] != "1000000" {
		t.Errorf("%+v", got)
	}
	if !regexp.MustCompile(`Max stack size +4194304 `).MatchString(got.stdout) {
		t.Errorf("%+v", got)
	}
}

// TestLocalhostFromHost: engines forward ports by dialling localhost in the container's network namespace.
func TestLocalhostFromHost(t *testing.T) {
	p := newPodman(t)
	dir := t.TempDir()
	data := make([]byte, 3<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	p.must("run", "-d", "--name", "c", "-v", dir+":/www", "busybox", "sh", "-c",
		`httpd -p '[::1]:8081' -h /www; nc -ll -p 7000 -e sh -c 'wc -c; echo counted' & exec httpd -f -p 127.0.0.1:8080 -h /www`)
	pid := p.must("inspect", "--format", "{{.State.Pid}}", "c")
	inside := func(args ...string) result {
		return command(t, "", "nsenter", append([]string{"-t", pid, "-n"}, args...)...)
	}
	eventually(t, func() string { return p.run("exec", "c", "netstat", "-ltn").stdout }, []string{":7000", ":8080", ":8081"}, nil)
	// 8081 is there over IPv6 only: localhost means both.
	for _, url := range []string{"http://127.0.0.1:8080/data", "http://[::1]:8081/data", "http://127.0.0.1:8081/data"} {
		if got := inside("curl", "-s", "-g", "-m", "60", url); got.stdout != string(data) {
			t.Errorf("%s: code %d, %d bytes", url, got.code, len(got.stdout))
		}
	}
	// The end of the client's data arrives, and the answer after it.
	conn := dialInside(t, pid, "127.0.0.1:7000")
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write(data[:100_000]); err != nil {
		t.Error(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Error(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "100000\ncounted\n" {
		t.Errorf("answer %q, %v", answer, err)
	}
	if got := inside("curl", "-s", "-m", "60", "http://127.0.0.1:9999/"); got.code == 0 {
		t.Errorf("a port on which nothing listens answers: %+v", got)
	}
	p.must("rm", "--force", "--time", "0", "c")
}

// dialInside makes a connection in the network namespace of a process.
func dialInside(t *testing.T, pid, address string) *net.TCPConn {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan result)
	go func() {
		goruntime.LockOSThread() // for good: the thread ends with the goroutine
		ns, err := os.Open("/proc/" + pid + "/ns/net")
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		var conn net.Conn
		if err == nil {
			conn, err = net.Dial("tcp", address)
		}
		dialled <- result{conn, err}
	}()
	r := <-dialled
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.conn.(*net.TCPConn)
}
