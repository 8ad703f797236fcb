//go:build privileged

package vmm

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHotplug plugs one device of each kind into a real, jailed QEMU. Its guest never answers, so what follows a
// removal is left to the fake monitor.
func TestHotplug(t *testing.T) {
	v := newTestVM(t)
	share := filepath.Join(v.dir, "share.sock")
	socket := listenFile(t, share)
	if err := os.Chown(share, testUID, testUID); err != nil {
		t.Fatal(err)
	}
	daemon := startDaemon(t, socket)
	p := v.start(t)
	v.booted(t, p)
	ctx := short(t)
	q, err := DialQMP(ctx, filepath.Join(v.dir, "qmp.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if status, err := q.Status(ctx); err != nil || status != "running" {
		t.Fatalf("status %q, %v", status, err)
	}
	nic := NIC{ID: "hotnic0", MAC: "02:00:00:00:00:07", MTU: 1400, TapFDs: tap(t, "vmmtest0", 2)}
	if err := q.AddNIC(ctx, nic, PortID(0)); err != nil {
		t.Error(err)
	}
	other := NIC{ID: "hotnic1", MAC: "02:00:00:00:00:08", TapFDs: tap(t, "vmmtest1", 1)}
	if err := q.AddNIC(ctx, other, PortID(0)); err == nil || !strings.Contains(err.Error(), "slot 0") {
		t.Errorf("second NIC in one port: %v", err)
	}
	if err := q.AddNIC(ctx, other, PortID(1)); err != nil {
		t.Errorf("after the refusal: %v", err)
	}
	disk, err := os.OpenFile(filepath.Join(t.TempDir(), "disk"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := disk.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	if err := q.AddDisk(ctx, Disk{ID: "hotdisk0", File: disk, Serial: "a,b"}, PortID(2)); err != nil {
		t.Error(err)
	}
	virtiofs := Share{Type: ShareVirtiofs, Tag: "tag", Path: "/vm/share.sock"}
	if err := q.AddShare(ctx, "hotshare0", virtiofs, PortID(3)); err != nil {
		t.Errorf("%v; virtiofsd: %s", err, daemon.stderr)
	}
	if err := q.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := q.Quit(ctx); err != nil {
		t.Error(err)
	}
	if err := p.Err(); err != nil {
		t.Error(err)
	}
	events := map[string]bool{}
	for e := range q.Events() {
		events[e.Event] = true
	}
	if !events["STOP"] || !events["SHUTDOWN"] {
		t.Errorf("events %v", events)
	}
}

// tap makes a tap in a network namespace that ends with the test, and returns its queues.
func tap(t *testing.T, name string, queues int) []*os.File {
	t.Helper()
	type result struct {
		files []*os.File
		err   error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var r result
		r.err = unix.Unshare(unix.CLONE_NEWNET)
		for range queues {
			if r.err != nil {
				break
			}
			var f *os.File
			if f, r.err = tapQueue(name); f != nil {
				r.files = append(r.files, f)
			}
		}
		made <- r
	}()
	r := <-made
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() {
		for _, f := range r.files {
			_ = f.Close()
		}
	})
	return r.files
}

func tapQueue(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return f, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE)
	return f, unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
}

// startDaemon starts the installed virtiofsd with every option, on a directory whose name tries its escapes.
func startDaemon(t *testing.T, socket *os.File) *Process {
	t.Helper()
	binary, rust, err := FindVirtiofsd("")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), `shared, with=comma\ and backslash`)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := StartVirtiofsd(VirtiofsdOptions{
		Binary: binary, Rust: rust, SharedDir: dir, Socket: socket, Cache: "always", TimeoutSec: 1, ThreadPool: 2,
		XattrEnabled: true, AnnounceSubmounts: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		<-p.Done()
	})
	return p
}

// TestVirtiofsdKill checks that a daemon that is killed leaves nothing behind.
func TestVirtiofsdKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "share.sock")
	p := startDaemon(t, listenFile(t, path))
	vhostUserHello(t, path) // the daemon has forked and sandboxed itself by the time it answers
	children, err := os.ReadFile(proc(p, "task/"+strconv.Itoa(p.Pid())+"/children"))
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	<-p.Done()
	for _, child := range strings.Fields(string(children)) {
		if _, err := os.Stat("/proc/" + child + "/exe"); err == nil {
			t.Errorf("process %s is left", child)
		}
	}
}

// vhostUserHello sends VHOST_USER_GET_FEATURES and waits for the answer.
func vhostUserHello(t *testing.T, path string) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte{1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 20)); err != nil || n == 0 {
		t.Fatalf("virtiofsd's answer: %d bytes, %v", n, err)
	}
}

// parentHelper makes TestParentDeath's child start a machine and wait to be killed.
const parentHelper = "VMM_TEST_PARENT"

// TestParentDeath kills a process that runs QEMU and virtiofsd, and waits for the two to end.
func TestParentDeath(t *testing.T) {
	if os.Getenv(parentHelper) != "" {
		v := newTestVM(t)
		p := v.start(t)
		v.booted(t, p)
		path := filepath.Join(v.dir, "share.sock")
		daemon := startDaemon(t, listenFile(t, path))
		vhostUserHello(t, path)
		fmt.Printf("pids %d %d\n", p.Pid(), daemon.Pid())
		<-p.Done()
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestParentDeath$")
	cmd.Env = append(os.Environ(), parentHelper+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids [2]int
	for lines := bufio.NewScanner(out); pids[1] == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "pids %d %d", &pids[0], &pids[1])
	}
	var fds []unix.PollFd
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for i := range fds {
		if n, err := unix.Poll(fds[i:i+1], 5000); n != 1 || err != nil {
			t.Errorf("process %d outlives its parent: %v", pids[i], err)
		}
	}
}

// TestColdPlug starts a real QEMU with one of everything.
func TestColdPlug(t *testing.T) {
	v := newTestVM(t)
	share := filepath.Join(v.dir, "share, x=1.sock")
	socket := listenFile(t, share)
	if err := os.Chown(share, testUID, testUID); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, socket)
	image := filepath.Join(v.dir, "disk, x=1")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	readOnly, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	writable, err := os.OpenFile(filepath.Join(t.TempDir(), "disk"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer writable.Close()
	_, agent := socketPair(t)
	v.config.CPUs, v.config.MaxCPUs = 2, 4
	v.config.Agent = AgentChannel{Serial: agent, PortName: "port, x=1"}
	v.config.Share = &Share{Type: ShareVirtiofs, Tag: "tag, x=1", Path: "/vm/share, x=1.sock"}
	v.config.NICs = []NIC{
		{ID: "nic0", MAC: "02:00:00:00:00:01", MTU: 9000, TapFDs: tap(t, "vmmtest0", 2), Queues: 2},
		{ID: "nic1", MAC: "02:00:00:00:00:02", TapFDs: tap(t, "vmmtest1", 1)},
	}
	v.config.Disks = []Disk{
		{ID: "disk0", File: readOnly, ReadOnly: true, Serial: "a, x=1"},
		{ID: "disk1", File: writable},
		{ID: "disk2", Path: "/vm/disk, x=1", ReadOnly: true},
	}
	v.booted(t, v.start(t))
}
