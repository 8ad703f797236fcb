//go:build vm

package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
)

// These tests boot the guest image in RUNVM_TEST_GUEST, a folder with vmlinux and initramfs.cpio, under QEMU's software
// emulation, with a busybox root on a virtiofs share. They need qemu-system-x86_64, virtiofsd and busybox.

// guest is a booted VM.
type guest struct {
	dir    string // the share
	client *agentclient.Client
	pid    int // QEMU's
}

func bootGuest(t *testing.T) *guest {
	t.Helper()
	image := os.Getenv("RUNVM_TEST_GUEST")
	if image == "" {
		t.Fatal("RUNVM_TEST_GUEST names no guest image")
	}
	dir := t.TempDir()
	makeRoot(t, filepath.Join(dir, "c", "rootfs"))
	socket := startVirtiofsd(t, dir)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "agent"), os.NewFile(uintptr(fds[1]), "agent")
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	cmd := exec.Command("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "512",
		"-object", "memory-backend-memfd,id=m,size=512M,share=on", "-numa", "node,memdev=m",
		"-kernel", filepath.Join(image, "vmlinux"), "-initrd", filepath.Join(image, "initramfs.cpio"),
		"-append", "console=ttyS0 quiet panic=-1 runvm.transport=serial runvm.modules=serial,virtiofs,net",
		"-serial", "stdio", "-device", "virtio-serial-pci",
		"-chardev", "socket,id=a,fd=3",
		"-device", "virtserialport,chardev=a,name="+agentproto.SerialPortName,
		"-chardev", "socket,id=fs,path="+socket, "-device", "vhost-user-fs-pci,chardev=fs,tag=share",
		"-netdev", "user,id=n,restrict=on", "-device", "virtio-net-pci,netdev=n,mac=02:00:00:00:00:01",
	)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = testWriter{t}, testWriter{t}
	started := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line := make([]byte, len(agentproto.ReadyLine))
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(conn, line); err != nil || string(line) != agentproto.ReadyLine {
		t.Fatalf("ready line: %q, %v", line, err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	t.Logf("agent ready after %v", time.Since(started))
	config := yamux.DefaultConfig()
	config.EnableKeepAlive, config.LogOutput, config.ConnectionWriteTimeout = false, io.Discard, time.Hour
	config.MaxStreamWindowSize = 1 << 20
	session, err := yamux.Client(conn, config)
	if err != nil {
		t.Fatal(err)
	}
	client, err := agentclient.Dial(t.Context(), func(context.Context) (net.Conn, error) { return session.Open() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &guest{dir: dir, client: client, pid: cmd.Process.Pid}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	fmt.Fprintf(os.Stderr, "guest: %s", b)
	return len(b), nil
}

func startVirtiofsd(t *testing.T, dir string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "fs.sock")
	cmd := exec.Command("/usr/lib/qemu/virtiofsd", "--socket-path="+socket, "-o", "source="+dir, "-o", "cache=auto", "-o", "sandbox=chroot")
	cmd.Stderr = testWriter{t}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 500 {
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("virtiofsd made no socket")
	return ""
}

func makeRoot(t *testing.T, root string) {
	t.Helper()
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"sh", "cat", "echo", "sleep", "id", "ps", "dd", "head", "true", "false", "mount", "stty", "ls", "sysctl", "env", "ping", "ip", "hostname"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", a)); err != nil {
			t.Fatal(err)
		}
	}
}

func spec(args ...string) *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"}
	return &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: agentproto.SharedDir + "/c/rootfs"},
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 2048, Hard: 4096}},
		},
		Hostname: "inside",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue"},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}, {Type: "cgroup"}},
			Seccomp:    &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdirat"}, Action: specs.ActErrno}}},
			Resources:  &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(200))}},
		},
	}
}

func ptr[T any](v T) *T { return &v }

func (g *guest) configure(t *testing.T) {
	t.Helper()
	_, err := g.client.Agent().ConfigureSandbox(t.Context(), &agentproto.ConfigureSandboxRequest{
		SandboxId: "test", UnixTimeNs: time.Now().UnixNano(), Entropy: make([]byte, 64), Hostname: "outside",
		Share: &agentproto.Share{Type: "virtiofs", Tag: "share"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (g *guest) create(t *testing.T, id string, s *specs.Spec) error {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.client.Agent().CreateContainer(t.Context(), &agentproto.CreateContainerRequest{ContainerId: id, Spec: b})
	return agentclient.FromStatus(err)
}

func (g *guest) start(t *testing.T, id string) {
	t.Helper()
	if _, err := g.client.Agent().StartContainer(t.Context(), &agentproto.StartContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
}

func (g *guest) remove(t *testing.T, id string) {
	t.Helper()
	if _, err := g.client.Agent().DeleteContainer(t.Context(), &agentproto.DeleteContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
}

// cpu is the processor time that the VM has used: unlike the clock, it does not depend on what else the machine does.
func (g *guest) cpu(t *testing.T) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')'):]))
	var ticks int
	for _, f := range fields[12:14] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
