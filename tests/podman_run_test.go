//go:build e2e

package tests

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// TestPodmanExitCodes: podman derives 126 and 127 from the words of the runtime's errors.
func TestPodmanExitCodes(t *testing.T) {
	p := newPodman(t)
	for name, tc := range map[string]struct {
		args []string
		code int
		out  string
	}{
		"echo":           {[]string{"busybox", "echo", "hello from a VM"}, 0, "hello from a VM\n"},
		"three":          {[]string{"busybox", "sh", "-c", "exit 3"}, 3, ""},
		"not executable": {[]string{"busybox", "/etc/passwd"}, 126, ""},
		"not found":      {[]string{"busybox", "nosuchprogram"}, 127, ""},
		"killed":         {[]string{"busybox", "sh", "-c", "sh -c 'kill -KILL $$'; exit $?"}, 137, ""},
		"terminated":     {[]string{"busybox", "sh", "-c", "sh -c 'kill -TERM $$'; exit $?"}, 143, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := p.run(append([]string{"run", "--rm", "--network", "none"}, tc.args...)...)
			if r.code != tc.code || !strings.Contains(r.stdout, tc.out) {
				t.Errorf("code %d, stdout %q; want %d, %q", r.code, r.stdout, tc.code, tc.out)
			}
		})
	}
}

// TestPodmanStdin sends 50 MB through a container without a pty and compares checksums.
func TestPodmanStdin(t *testing.T) {
	p := newPodman(t)
	data := make([]byte, 50<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("podman", append(engine.flags(), "run", "--rm", "-i", "--network", "none", "busybox", "cat")...)
	hash := sha256.New()
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), hash, &stderr
	started := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	t.Logf("50 MB in and out in %v", time.Since(started))
	want := sha256.Sum256(data)
	if got := hex.EncodeToString(hash.Sum(nil)); got != hex.EncodeToString(want[:]) {
		t.Errorf("checksum %s, want %x", got, want)
	}
	_ = p
}

// TestPodmanLife goes through what people do with one container.
func TestPodmanLife(t *testing.T) {
	p := newPodman(t)
	script := "trap 'echo got TERM; exit 5' TERM; echo started $(cat /count 2>/dev/null); echo x >> /count; while :; do sleep 1 & wait $!; done"
	p.must("run", "-d", "--name", "c", "--hostname", "vm-host", "-e", "A=1", "busybox", "sh", "-c", script)
	p.expect(0, "vm-host", "exec", "c", "hostname")
	p.expect(0, "A=1", "exec", "c", "env")
	p.expect(7, "", "exec", "c", "sh", "-c", "exit 7")
	p.expect(127, "", "exec", "c", "nosuchprogram")
	p.expect(0, "uid=1000(user)", "exec", "-u", "1000", "c", "id")
	p.expect(0, "running", "inspect", "--format", "{{.State.Status}}", "c")
	p.expect(0, "started", "logs", "c")

	t.Run("top shows the container and not the host", func(t *testing.T) {
		lines := strings.Split(p.must("top", "c"), "\n")
		if len(lines) != 2 || !strings.Contains(lines[1], "trap") {
			t.Errorf("podman top: %q", lines)
		}
		p.expect(0, "sleep", "top", "c", "-o", "pid,args")
	})
	t.Run("stats", func(t *testing.T) {
		out := p.must("stats", "--no-stream", "--format", "{{.MemUsage}}", "c")
		if strings.HasPrefix(out, "0B") || out == "" {
			t.Errorf("memory usage %q", out)
		}
	})
	t.Run("cp", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte("copied"), 0o644); err != nil {
			t.Fatal(err)
		}
		p.must("cp", file, "c:/root/copied-by-podman")
		p.expect(0, "copied", "exec", "c", "cat", "/root/copied-by-podman")
		if _, err := os.Stat("/root/copied-by-podman"); err == nil {
			_ = os.Remove("/root/copied-by-podman")
			t.Error("podman cp wrote to the host's root")
		}
		p.must("exec", "c", "sh", "-c", "echo back > /root/from-guest")
		back := filepath.Join(t.TempDir(), "back")
		p.must("cp", "c:/root/from-guest", back)
		if data, err := os.ReadFile(back); err != nil || string(data) != "back\n" {
			t.Errorf("%q, %v", data, err)
		}
	})

	p.must("pause", "c")
	p.expect(0, "paused", "inspect", "--format", "{{.State.Status}}", "c")
	p.must("unpause", "c")
	p.expect(0, "vm-host", "exec", "c", "hostname")

	p.must("stop", "--time", "30", "c")
	p.expect(0, "5", "inspect", "--format", "{{.State.ExitCode}}", "c")
	p.expect(0, "got TERM", "logs", "c")
	p.must("start", "c")
	p.expect(0, "x\nx\n", "exec", "c", "cat", "/count")
	p.must("restart", "--time", "30", "c")
	p.expect(0, "x\nx\nx\n", "exec", "c", "cat", "/count")
	p.must("kill", "c")
	p.expect(0, "137", "wait", "c")
}

// TestPodmanTerminal uses a real pty: size, resize, echo and both directions.
func TestPodmanTerminal(t *testing.T) {
	newPodman(t)
	// The new size travels through podman, conmon and the shim on its own way, not in order with the input.
	script := "stty size; read line; echo got:$line; until [ \"$(stty size)\" = '44 122' ]; do sleep 0.2; done; echo resized; exit 4"
	cmd := exec.Command("podman", append(engine.flags(), "run", "--rm", "-it", "--network", "none", "busybox", "sh", "-c", script)...)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 101})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	stop := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	var seen []byte
	// await reads until the terminal shows text.
	await := func(text string) {
		t.Helper()
		buf := make([]byte, 4096)
		for !bytes.Contains(seen, []byte(text)) {
			n, err := terminal.Read(buf)
			seen = append(seen, buf[:n]...)
			if err != nil {
				t.Fatalf("the terminal showed %q and no %q: %v", seen, text, err)
			}
		}
	}
	await("33 101\r\n")
	if err := pty.Setsize(terminal, &pty.Winsize{Rows: 44, Cols: 122}); err != nil {
		t.Fatal(err)
	}
	if _, err := terminal.Write([]byte("typed\n")); err != nil {
		t.Fatal(err)
	}
	await("typed\r\n")
	await("got:typed\r\n")
	await("resized\r\n")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 4 {
		t.Errorf("ended with %v, want code 4", err)
	}
}

// TestPodmanOptions: what the flags of run ask for holds in the guest.
func TestPodmanOptions(t *testing.T) {
	p := newPodman(t)
	type check struct{ flags, command, want string }
	for name, checks := range map[string]map[string]check{
		"root": {
			"memory":   {"--memory 200m", "cat /sys/fs/cgroup/memory.max", "209715200"},
			"cpus":     {"--cpus 1.5", "cat /sys/fs/cgroup/cpu.max", "150000 100000"},
			"vcpus":    {"", "nproc", "2"},
			"pids":     {"--pids-limit 77", "cat /sys/fs/cgroup/pids.max", "77"},
			"cap-add":  {"--cap-add SYS_TIME", "grep CapEff /proc/self/status", "CapEff:\t00000000820405fb"},
			"seccomp":  {"", "grep Seccomp: /proc/self/status", "Seccomp:\t2"},
			"hostname": {"--hostname named", "hostname", "named"},
			"dns":      {"--dns 192.0.2.53", "cat /etc/resolv.conf", "nameserver 192.0.2.53"},
			"add-host": {"--add-host peer:192.0.2.7", "cat /etc/hosts", "192.0.2.7\tpeer"},
			"shm-size": {"--shm-size 3m", "df -k /dev/shm", " 3072 "},
			"tmpfs":    {"--tmpfs /scratch:size=2m", "df -k /scratch", " 2048 "},
			"ulimit":   {"--ulimit nofile=4000:4000", "ulimit -n", "4000"},
			"sysctl":   {"--sysctl net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward", "1"},
			"workdir":  {"--workdir /etc", "pwd", "/etc"},
			"dev":      {"", "ls -ld /dev/stdout", "/dev/stdout ->"},
		},
		"user": {
			"user":      {"--user 1000:2000", "id", "uid=1000(user) gid=2000(extra)"},
			"read-only": {"--read-only", "touch /x 2>&1; touch /tmp/y && echo tmp-writable", "tmp-writable"},
			"refused":   {"", "touch /home/user/x", "Read-only file system"},
			"cap-drop":  {"--cap-drop all", "grep CapEff /proc/self/status", "CapEff:\t0000000000000000"},
		},
	} {
		// One container for all: each of its commands writes between two marks.
		args, script := []string{"run", "--rm"}, ""
		for name, c := range checks {
			args = append(args, strings.Fields(c.flags)...)
			script += fmt.Sprintf("echo '<%s>'; { %s; } 2>&1; echo '</%s>'\n", name, c.command, name)
		}
		out := p.must(append(args, "busybox", "sh", "-c", script)...)
		for check, c := range checks {
			_, rest, _ := strings.Cut(out, "<"+check+">\n")
			if got, _, complete := strings.Cut(rest, "</"+check+">"); !complete || !strings.Contains(got, c.want) {
				t.Errorf("%s %s: %s printed %q, want %q", name, c.flags, c.command, got, c.want)
			}
		}
	}
	t.Run("host network is refused", func(t *testing.T) {
		r := p.run("run", "--rm", "--network", "host", "busybox", "true")
		if r.code == 0 || !strings.Contains(r.stderr, "host's network") {
			t.Errorf("%+v", r)
		}
	})
}

// TestPodmanVolumes covers named and bound volumes, writable and not.
func TestPodmanVolumes(t *testing.T) {
	p := newPodman(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in"), []byte("host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.must("volume", "create", "data")
	p.expect(0, "host", "run", "--rm", "-v", "data:/d", "-v", dir+":/b", "busybox", "sh", "-c", "cp /b/in /d/kept; echo guest > /b/out; cat /d/kept")
	p.expect(0, "host", "run", "--rm", "-v", "data:/d:ro", "busybox", "cat", "/d/kept")
	p.expect(1, "", "run", "--rm", "-v", "data:/d:ro", "busybox", "rm", "/d/kept")
	p.expect(0, "host", "run", "--rm", "--read-only", "-v", "data:/tmp/v", "busybox", "cat", "/tmp/v/kept")
	if data, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || string(data) != "guest\n" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestPodmanXattr: extended attributes travel both ways.
func TestPodmanXattr(t *testing.T) {
	p := newPodman(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(file, "user.host", []byte("from host"), 0); err != nil {
		t.Fatal(err)
	}
	p.expect(0, "from host", "run", "--rm", "--network", "none", "-v", dir+":/d", "debian", "sh", "-c",
		"setfattr -n user.guest -v 'from guest' /d/file && getfattr --only-values -n user.host /d/file")
	value := make([]byte, 64)
	n, err := unix.Getxattr(file, "user.guest", value)
	if err != nil || string(value[:n]) != "from guest" {
		t.Errorf("user.guest is %q, %v", value[:max(n, 0)], err)
	}
}

// TestPodmanNames: two VMs find and reach each other by name on a podman network, over IPv4 and IPv6.
func TestPodmanNames(t *testing.T) {
	p := newPodman(t)
	p.must("network", "create", "--ipv6", "vms")
	p.must("run", "-d", "--name", "server", "--network", "vms", "busybox", "sh", "-c",
		"mkdir /www; echo from-server > /www/index.html; exec httpd -f -p 8080 -h /www")
	six := p.must("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}", "server")
	// Not busybox's wget: a static glibc program cannot resolve names without the C library's plug-ins.
	for _, url := range []string{"http://server:8080/", "http://[" + six + "]:8080/"} {
		p.expect(0, "from-server", "run", "--rm", "--network", "vms", "debian",
			"curl", "--silent", "--retry", "10", "--retry-connrefused", "--max-time", "60", url)
	}
}

// TestPodmanNginx: a real server from a distribution serves the host through a published port.
func TestPodmanNginx(t *testing.T) {
	p := newPodman(t)
	port := freePort(t)
	p.must("run", "-d", "--name", "web", "-p", fmt.Sprintf("127.0.0.1:%d:80", port), "debian", "nginx", "-g", "daemon off;")
	page := ""
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(page, "Welcome to nginx"); {
		if time.Now().After(deadline) {
			t.Fatalf("no page: %q; logs: %s", page, p.run("logs", "web").stderr)
		}
		page = command(t, "", "curl", "-s", "-m", "5", fmt.Sprintf("http://127.0.0.1:%d/", port)).stdout
	}
	address := p.must("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "web")
	if got := command(t, "", "curl", "-s", "-m", "10", "http://"+address+"/"); !strings.Contains(got.stdout, "Welcome to nginx") {
		t.Errorf("by address: %+v", got)
	}
}

// TestPodmanRedis: a database on a volume keeps its data over a restart.
func TestPodmanRedis(t *testing.T) {
	p := newPodman(t)
	p.must("volume", "create", "redis")
	p.must("run", "-d", "--name", "db", "-v", "redis:/data", "debian", "redis-server", "--dir", "/data", "--appendonly", "yes", "--save", "")
	ask := func(args ...string) string {
		var r result
		for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
			r = p.run(append([]string{"exec", "db", "redis-cli"}, args...)...)
			if r.code == 0 && !strings.Contains(r.stdout, "Could not connect") && !strings.Contains(r.stdout, "LOADING") {
				break
			}
		}
		return strings.TrimSpace(r.stdout)
	}
	if got := ask("set", "key", "kept"); got != "OK" {
		t.Fatalf("set: %q", got)
	}
	p.must("restart", "--time", "30", "db")
	if got := ask("get", "key"); got != "kept" {
		t.Errorf("after a restart the key is %q", got)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestPodmanByName: with the drop-in that make install puts in place, podman knows the runtime by its name and reads its
// errors.
func TestPodmanByName(t *testing.T) {
	newPodman(t)
	prefix := t.TempDir()
	if err := os.Mkdir(filepath.Join(prefix, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(runvmPath, filepath.Join(prefix, "bin", "runvm")); err != nil {
		t.Fatal(err)
	}
	template, err := os.ReadFile("../dist/containers.conf")
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(prefix, "containers.conf")
	if err := os.WriteFile(conf, bytes.ReplaceAll(template, []byte("@PREFIX@"), []byte(prefix)), 0o644); err != nil {
		t.Fatal(err)
	}
	byName := func(args ...string) result {
		t.Helper()
		args = append(append([]string{"CONTAINERS_CONF=" + conf, "podman"}, append(engine.flags(), "--runtime", "runvm")...), args...)
		return command(t, "", "env", args...)
	}
	if got := byName("run", "--rm", "--network", "none", "busybox", "echo", "by name"); got.code != 0 || got.stdout != "by name\n" || got.stderr != "" {
		t.Errorf("%+v", got)
	}
	got := byName("run", "--rm", "--network", "none", "busybox", "nosuchprogram")
	if got.code != 127 || !strings.Contains(got.stderr, `exec: "nosuchprogram": executable file not found in $PATH`) {
		t.Errorf("%+v", got)
	}
	if strings.Contains(got.stderr, `"level"`) {
		t.Errorf("podman shows the log's JSON instead of its message: %s", got.stderr)
	}
}
