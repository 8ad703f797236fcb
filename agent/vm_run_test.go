//go:build vm

package agent_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
)

// run runs a container to its end and returns its exit code and outputs.
func (g *guest) run(t *testing.T, id, stdin string, s *specs.Spec) (int, string, string) {
	t.Helper()
	if err := g.create(t, id, s); err != nil {
		t.Fatal(err)
	}
	defer g.remove(t, id)
	g.start(t, id)
	return g.attach(t, &agentproto.Process{ContainerId: id}, stdin)
}

func (g *guest) attach(t *testing.T, p *agentproto.Process, stdin string) (int, string, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code, err := g.client.Attach(t.Context(), p, agentclient.Stdio{
		Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	return code, stdout.String(), stderr.String()
}

func (g *guest) exec(t *testing.T, id, execID, stdin string, p *specs.Process) (int, string, string) {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.client.Agent().ExecProcess(t.Context(), &agentproto.ExecProcessRequest{ContainerId: id, ExecId: execID, Process: b})
	if err != nil {
		return -1, "", agentclient.FromStatus(err).Error()
	}
	return g.attach(t, &agentproto.Process{ContainerId: id, ExecId: execID}, stdin)
}

func TestGuest(t *testing.T) {
	g := bootGuest(t)
	g.configure(t)
	t.Run("stdio", func(t *testing.T) {
		for i := range 2 {
			started := time.Now()
			code, stdout, stderr := g.run(t, "c1", "hello", spec("sh", "-c", "cat; echo err >&2; id -u; exit 7"))
			t.Logf("container %d: %v", i, time.Since(started))
			if code != 7 || stdout != "hello0\n" || stderr != "err\n" {
				t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		}
	})
	t.Run("user reopens stdout", func(t *testing.T) {
		s := spec("sh", "-c", "echo x >/proc/self/fd/1; id -u; ulimit -n; mkdir /tmp/x; cat /proc/self/cgroup; hostname")
		s.Process.User.UID = 1000
		code, stdout, stderr := g.run(t, "c2", "", s)
		t.Log(code, stdout, stderr)
		if !strings.HasPrefix(stdout, "x\n1000\n2048\n") {
			t.Errorf("stdout %q, stderr %q", stdout, stderr)
		}
	})
	t.Run("create errors", func(t *testing.T) {
		for _, args := range [][]string{{"nonesuch"}, {"/bin"}, {"/nonesuch"}} {
			t.Logf("%v: %v", args, g.create(t, "bad", spec(args...)))
		}
		s := spec("sh")
		s.Process.Cwd = "/bin/sh"
		t.Logf("cwd: %v", g.create(t, "bad", s))
	})
	t.Run("signals at once", g.testEarlySignals)
	t.Run("exec", g.testExecs)
	t.Run("on demand", func(t *testing.T) {
		s := spec("sh", "-c", "mount -t overlay o -o lowerdir=/bin:/etc /tmp && ls /tmp/busybox")
		addCapability(s, "CAP_SYS_ADMIN")
		if code, stdout, stderr := g.run(t, "od", "", s); code != 0 {
			t.Errorf("overlay: code %d, %q %q", code, stdout, stderr)
		}
	})
	t.Run("network", g.testNetwork)
	t.Run("shared pid namespace", g.testSharedPIDs)
	t.Run("user namespace", func(t *testing.T) {
		s := spec("sh", "-c", "cat /proc/self/uid_map; echo x >/proc/self/fd/1; ls /sys/class >/dev/null && echo sys")
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: "user"})
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 65536}}
		s.Linux.GIDMappings = s.Linux.UIDMappings
		code, stdout, stderr := g.run(t, "u", "", s)
		if code != 0 || !strings.Contains(stdout, "x\nsys\n") {
			t.Errorf("code %d, %q %q", code, stdout, stderr)
		}
	})
	t.Run("terminal", g.testTerminal)
	t.Run("oom", g.testOOM)
	t.Run("throughput", g.testThroughput)
}

// A signal right after start meets the user's program: process 1 drops a TERM that it does not handle, and obeys KILL.
func (g *guest) testEarlySignals(t *testing.T) {
	for i := range 20 {
		id := fmt.Sprint("s", i)
		if err := g.create(t, id, spec("sleep", "1000")); err != nil {
			t.Fatal(err)
		}
		g.start(t, id)
		p := &agentproto.Process{ContainerId: id}
		for _, signal := range []uint32{15, 9} {
			if _, err := g.client.Agent().SignalProcess(t.Context(), &agentproto.SignalProcessRequest{Process: p, Signal: signal}); err != nil {
				t.Error(err)
			}
		}
		exit, err := g.client.Agent().WaitProcess(t.Context(), &agentproto.WaitProcessRequest{Process: p})
		if err != nil || exit.GetCode() != 137 {
			t.Errorf("exit %v, err %v", exit, err)
		}
		g.remove(t, id)
	}
}

func (g *guest) testExecs(t *testing.T) {
	if err := g.create(t, "e", spec("sleep", "1000")); err != nil {
		t.Fatal(err)
	}
	g.start(t, "e")
	defer g.remove(t, "e")
	p := &specs.Process{Args: []string{"sh", "-c", "cat; exit 3"}, Cwd: "/", Env: []string{"PATH=/bin"}}
	started := time.Now()
	code, out, _ := g.exec(t, "e", "one", "in", p)
	t.Logf("one exec: %v", time.Since(started))
	if code != 3 || out != "in" {
		t.Errorf("code %d out %q", code, out)
	}
	started = time.Now()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			in := fmt.Sprintf("input %d", i)
			if code, out, errText := g.exec(t, "e", fmt.Sprint(i), in, p); code != 3 || out != in {
				t.Errorf("exec %d: code %d, output %q %q", i, code, out, errText)
			}
		})
	}
	wg.Wait()
	t.Logf("50 execs: %v", time.Since(started))
	_, _, text := g.exec(t, "e", "bad", "", &specs.Process{Args: []string{"nonesuch"}, Cwd: "/", Env: []string{"PATH=/bin"}})
	t.Logf("exec error: %s", text)
	list, err := g.client.Agent().ListProcesses(t.Context(), &agentproto.ListProcessesRequest{ContainerId: "e"})
	t.Log(list, err)
	stats, err := g.client.Agent().GetStats(t.Context(), &agentproto.GetStatsRequest{ContainerId: "e"})
	t.Log(len(stats.GetJson()), err)
	resources := []byte(`{"memory":{"limit":67108864},"cpu":{"shares":512},"pids":{"limit":99}}`)
	if _, err := g.client.Agent().UpdateContainer(t.Context(), &agentproto.UpdateContainerRequest{ContainerId: "e", Resources: resources}); err != nil {
		t.Error(err)
	}
	if _, err := g.client.Agent().PauseContainer(t.Context(), &agentproto.PauseContainerRequest{ContainerId: "e"}); err != nil {
		t.Error(err)
	}
	_, _, text = g.exec(t, "e", "paused", "", p)
	t.Log(text)
	if _, err := g.client.Agent().ResumeContainer(t.Context(), &agentproto.ResumeContainerRequest{ContainerId: "e"}); err != nil {
		t.Error(err)
	}
	_, err = g.client.Agent().StartContainer(t.Context(), &agentproto.StartContainerRequest{ContainerId: "e"})
	t.Log(err)
}

func (g *guest) testTerminal(t *testing.T) {
	s := spec("sh", "-c", "stty size; read x; echo got $x; exec true")
	s.Process.Terminal = true
	s.Process.ConsoleSize = &specs.Box{Height: 33, Width: 77}
	if err := g.create(t, "tty", s); err != nil {
		t.Fatal(err)
	}
	defer g.remove(t, "tty")
	g.start(t, "tty")
	var b bytes.Buffer
	code, err := g.client.Attach(t.Context(), &agentproto.Process{ContainerId: "tty"}, agentclient.Stdio{
		Stdin: strings.NewReader("word\n"), Stdout: &b,
	})
	if err != nil {
		t.Fatal(err)
	}
	out := b.String()
	t.Logf("%d %q", code, out)
	if !strings.Contains(out, "33 77") || !strings.Contains(out, "got word") {
		t.Errorf("output %q", out)
	}
}

func (g *guest) testOOM(t *testing.T) {
	s := spec("sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1")
	s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(32 << 20)), Swap: ptr(int64(32 << 20))}
	if err := g.create(t, "oom", s); err != nil {
		t.Fatal(err)
	}
	defer g.remove(t, "oom")
	events, err := g.client.Agent().WatchEvents(t.Context(), &agentproto.WatchEventsRequest{ContainerId: "oom"})
	if err != nil {
		t.Fatal(err)
	}
	g.start(t, "oom")
	if event, err := events.Recv(); err != nil || event.GetKind() != agentproto.Event_OOM || event.GetPast() {
		t.Errorf("event %v, %v", event, err)
	}
	exit, err := g.client.Agent().WaitProcess(t.Context(), &agentproto.WaitProcessRequest{Process: &agentproto.Process{ContainerId: "oom"}})
	if err != nil || !exit.GetOomKilled() || exit.GetCode() != 137 {
		t.Errorf("exit %v, %v", exit, err)
	}
	later, err := g.client.Agent().WatchEvents(t.Context(), &agentproto.WatchEventsRequest{ContainerId: "oom"})
	if err != nil {
		t.Fatal(err)
	}
	if event, err := later.Recv(); err != nil || event.GetKind() != agentproto.Event_OOM || !event.GetPast() {
		t.Errorf("event of who came later %v, %v", event, err)
	}
}

func (g *guest) testThroughput(t *testing.T) {
	if err := g.create(t, "io", spec("cat")); err != nil {
		t.Fatal(err)
	}
	defer g.remove(t, "io")
	g.start(t, "io")
	const size = 50 << 20
	input := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	var out bytes.Buffer
	started := time.Now()
	code, err := g.client.Attach(t.Context(), &agentproto.Process{ContainerId: "io"}, agentclient.Stdio{Stdin: bytes.NewReader(input), Stdout: &out})
	took := time.Since(started)
	if err != nil || code != 0 || !bytes.Equal(out.Bytes(), input) {
		t.Fatalf("code %d, err %v, %d of %d bytes", code, err, out.Len(), size)
	}
	t.Logf("echo through cat: %.1f MB/s", size/1e6/took.Seconds())
}

func addCapability(s *specs.Spec, name string) {
	c := s.Process.Capabilities
	c.Bounding, c.Effective, c.Permitted = append(c.Bounding, name), append(c.Effective, name), append(c.Permitted, name)
}

// Without a PID namespace of its own the container still ends with its init, and orphans are reaped.
func (g *guest) testSharedPIDs(t *testing.T) {
	s := spec("sh", "-c", "sleep 1000 & (sleep 0.1 &) ; sleep 0.5; exit 6")
	s.Linux.Namespaces = s.Linux.Namespaces[1:]
	if err := g.create(t, "shared", s); err != nil {
		t.Fatal(err)
	}
	defer g.remove(t, "shared")
	g.start(t, "shared")
	if code, _, _ := g.attach(t, &agentproto.Process{ContainerId: "shared"}, ""); code != 6 {
		t.Errorf("code %d", code)
	}
	list, err := g.client.Agent().ListProcesses(t.Context(), &agentproto.ListProcessesRequest{ContainerId: "shared"})
	if err != nil || len(list.GetProcesses()) != 0 {
		t.Errorf("left over: %v, %v", list, err)
	}
}

// TestGuestCost measures what a container and an exec cost; it fails on nothing.
func TestGuestCost(t *testing.T) {
	g := bootGuest(t)
	g.configure(t)
	t.Logf("boot: %v of processor time", g.cpu(t))
	measure := func(what string, f func()) {
		cpu, clock := g.cpu(t), time.Now()
		f()
		t.Logf("%s: %v, %v of processor time", what, time.Since(clock).Round(time.Millisecond), g.cpu(t)-cpu)
	}
	for i := range 4 {
		measure(fmt.Sprintf("container %d", i), func() { g.run(t, "c", "", spec("true")) })
	}
	if err := g.create(t, "e", spec("sleep", "1000")); err != nil {
		t.Fatal(err)
	}
	g.start(t, "e")
	for i := range 4 {
		measure(fmt.Sprintf("exec %d", i), func() {
			g.exec(t, "e", fmt.Sprint(i), "", &specs.Process{Args: []string{"true"}, Cwd: "/", Env: []string{"PATH=/bin"}})
		})
	}
	_, out, _ := g.exec(t, "e", "mem", "", &specs.Process{Args: []string{"cat", "/proc/meminfo"}, Cwd: "/", Env: []string{"PATH=/bin"}})
	t.Log(out)
}

// The NIC gets the name, address and routes of a container's interface.
func (g *guest) testNetwork(t *testing.T) {
	request := &agentproto.ConfigureNetworkRequest{
		Interfaces: []*agentproto.Interface{{
			Name: "net7", Mac: "02:00:00:00:00:01", Mtu: 1400, Addresses: []string{"10.0.2.15/24", "fd00::2/64"}, Up: true,
		}},
		Routes: []*agentproto.Route{{Gateway: "10.0.2.2", Interface: "net7", Family: 2, Table: 254, Type: 1, Protocol: 3}},
	}
	for range 2 {
		if _, err := g.client.Agent().ConfigureNetwork(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	s := spec("sh", "-c", "ip addr show net7; ip route; ping -c 1 -W 5 10.0.2.2; sysctl -n net.ipv4.ip_forward")
	addCapability(s, "CAP_NET_RAW")
	code, stdout, stderr := g.run(t, "n", "", s)
	t.Log(stdout, stderr)
	if code != 0 || !strings.Contains(stdout, "mtu 1400") || !strings.Contains(stdout, "default via 10.0.2.2") {
		t.Errorf("code %d", code)
	}
}
