//go:build e2e

package tests

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// dockerTest runs docker for one test.
type dockerTest struct{ *engineTest }

func newDocker(t *testing.T) dockerTest {
	t.Helper()
	return dockerTest{newEngineTest(t, func(e *engineTest) {
		d := dockerTest{e}
		for _, id := range strings.Fields(d.docker("ps", "--all", "--quiet").stdout) {
			d.docker("rm", "--force", "--volumes", id)
		}
		d.docker("network", "prune", "--force")
		d.docker("volume", "prune", "--force")
	})}
}

// in is the same for a subtest.
func (d dockerTest) in(t *testing.T) dockerTest { return dockerTest{&engineTest{t}} }

// docker runs docker's client, which needs nothing but the daemon's socket.
func (d dockerTest) docker(args ...string) result {
	d.t.Helper()
	return command(d.t, "", dockerPath, append([]string{"--host", engines.dockerHost()}, args...)...)
}

// must runs a command that has to succeed and returns its trimmed standard output.
func (d dockerTest) must(args ...string) string {
	d.t.Helper()
	r := d.docker(args...)
	if r.code != 0 {
		d.t.Fatalf("docker %s: code %d: %s", strings.Join(args, " "), r.code, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// expect runs a command and compares its exit code and what its output contains.
func (d dockerTest) expect(code int, want string, args ...string) {
	d.t.Helper()
	if r := d.docker(args...); r.code != code || !strings.Contains(r.stdout+r.stderr, want) {
		d.t.Errorf("docker %s: code %d, %q, %q; want %d and %q", strings.Join(args, " "), r.code, r.stdout, r.stderr, code, want)
	}
}

// runtimes are the flags with which Docker runs the same container in a VM and, as an oracle, in runc. runc may not
// raise limits on a machine without CAP_SYS_RESOURCE.
var runtimes = map[string][]string{
	"runvm": {"--runtime", "runvm"},
	"runc":  {"--runtime", "runc", "--ulimit", "nofile=1024:1024"},
}

// TestDockerLikeRunc: the same command line gives the same output and exit code with both runtimes.
func TestDockerLikeRunc(t *testing.T) {
	d := newDocker(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	options := `id; hostname; ls -ld /scratch | cut -c 1-10; df -k /scratch | tail -n 1 | awk '{print $2}'; touch /scratch/x && echo scratch
touch /x 2>&1; cat /ro/in; touch /ro/x 2>&1; cat /rw/in; echo from $0 > /rw/out; cat /rw/out; tr '\0' ' ' < /proc/1/cmdline
grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; pwd; echo $VARIABLE; cat /etc/hosts | tail -n 1 | cut -f 2; tail -n 1 /etc/resolv.conf; exit 7`
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"not found":      {[]string{"busybox", "nosuchprogram"}, 127, ""},
		"not executable": {[]string{"busybox", "/etc/passwd"}, 126, ""},
		"options": {[]string{
			"--user", "1000:2000", "--hostname", "named", "--tmpfs", "/scratch:size=2m", "--read-only", "--init", "--memory", "200m",
			"--volume", dir + ":/ro:ro", "--volume", "/rw", "--volume", dir + "/in:/rw/in", "--cap-add", "SYS_TIME",
			"--security-opt", "no-new-privileges", "--workdir", "/etc", "--env", "VARIABLE=value", "--dns", "192.0.2.53",
			"busybox", "sh", "-c", options,
		}, 7, "uid=1000(user) gid=2000(extra) groups=2000(extra)\nnamed\ndrwxrwxrwt\n2048\nscratch\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d := d.in(t)
			got := map[string]result{}
			for runtime, flags := range runtimes {
				r := d.docker(append(append([]string{"run", "--rm"}, flags...), tc.args...)...)
				got[runtime] = r
				if r.code != tc.code || !strings.Contains(r.stdout, tc.want) {
					t.Errorf("%s: code %d, %q; want %d and %q", runtime, r.code, r.stdout, tc.code, tc.want)
				}
			}
			if got["runvm"].stdout != got["runc"].stdout {
				t.Errorf("runvm: %q\nrunc:  %q", got["runvm"].stdout, got["runc"].stdout)
			}
		})
	}
}

// TestDockerStdin sends 10 MB through a container and compares checksums.
func TestDockerStdin(t *testing.T) {
	newDocker(t)
	data := make([]byte, 10<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(dockerPath, "--host", engines.dockerHost(), "run", "--rm", "--interactive", "--runtime", "runvm", "busybox", "cat")
	hash := sha256.New()
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), hash, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	want := sha256.Sum256(data)
	if got := hex.EncodeToString(hash.Sum(nil)); got != hex.EncodeToString(want[:]) {
		t.Errorf("checksum %s, want %x", got, want)
	}
}

// TestDockerTerminal uses a real pty: its size, a new size, both directions, exit code.
func TestDockerTerminal(t *testing.T) {
	newDocker(t)
	// The new size is waited for: it travels on its own way, not in order with the input.
	script := `stty size; read line; echo got:$line; until [ "$(stty size)" = "44 122" ]; do sleep 1; done; echo resized; exit 4`
	cmd := exec.Command(dockerPath, "--host", engines.dockerHost(), "run", "--rm", "-it", "--runtime", "runvm", "busybox", "sh", "-c", script)
	terminal, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	stop := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	var seen []byte
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
	await("\r\n") // docker sets the size after start: the first line may show none
	if _, err := terminal.Write([]byte("typed\n")); err != nil {
		t.Fatal(err)
	}
	await("got:typed\r\n")
	if err := pty.Setsize(terminal, &pty.Winsize{Rows: 44, Cols: 122}); err != nil {
		t.Fatal(err)
	}
	await("resized\r\n")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 4 {
		t.Errorf("ended with %v, want code 4", err)
	}
}

// TestDockerLife goes through what people do with one container.
func TestDockerLife(t *testing.T) {
	d := newDocker(t)
	script := `trap 'echo got TERM; exit 5' TERM; mkdir -p /www; echo page > /www/index.html; httpd -p 8080 -h /www
echo x >> /count; echo started; echo failed >&2; touch /tmp/ready; while :; do sleep 1 & wait $!; done`
	d.must("run", "--detach", "--name", "life", "--runtime", "runvm", "--publish", "127.0.0.1:18080:8080", "--publish", "18081:8080",
		"--health-cmd", "test -e /tmp/ready && wget -qO- http://127.0.0.1:8080/", "--health-interval", "1s", "--health-retries", "60",
		"busybox", "sh", "-c", script)
	inspect := func(format, want string) {
		t.Helper()
		d.await(want, dockerPath, "--host", engines.dockerHost(), "inspect", "--format", format, "life")
	}
	inspect("{{.State.Health.Status}}", "healthy")
	inspect("{{range .State.Health.Log}}{{.Output}}{{end}}", "page")
	d.expect(7, "", "exec", "life", "sh", "-c", "exit 7")
	d.expect(0, "uid=1000(user)", "exec", "--user", "1000", "--env", "A=1", "life", "id")
	d.expect(126, "executable file not found in $PATH", "exec", "life", "nosuchprogram")
	if r := d.docker("logs", "life"); r.stdout != "started\n" || r.stderr != "failed\n" {
		t.Errorf("logs: %+v", r)
	}

	t.Run("published ports", func(t *testing.T) {
		d := d.in(t)
		for _, url := range []string{"http://127.0.0.1:18080/", "http://127.0.0.1:18081/"} {
			if r := d.run("curl", "--silent", "--max-time", "60", url); r.stdout != "page\n" {
				t.Errorf("%s: %+v", url, r)
			}
		}
	})
	t.Run("top shows the container and not the host", func(t *testing.T) {
		d := d.in(t)
		d.must("exec", "--detach", "life", "sleep", "1000")
		// Health checks come and go.
		out := d.must("top", "life", "-o", "pid,args")
		if !strings.Contains(out, "sh -c trap") || !strings.Contains(out, "sleep 1000") || strings.Contains(out, "dockerd") {
			t.Errorf("docker top: %q", out)
		}
	})
	t.Run("stats", func(t *testing.T) {
		d := d.in(t)
		out := d.must("stats", "--no-stream", "--format", "{{.MemUsage}} {{.NetIO}}", "life")
		if strings.HasPrefix(out, "0B") || out == "" || strings.HasSuffix(out, " 0B / 0B") {
			t.Errorf("memory and network %q", out)
		}
	})
	t.Run("update", func(t *testing.T) {
		d := d.in(t)
		d.must("update", "--memory", "200m", "--memory-swap", "-1", "--cpus", "0.5", "life")
		d.expect(1, "the virtual machine has", "update", "--cpus", "2", "life")
		d.expect(0, "209715200\n50000 100000\n", "exec", "life", "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max")
	})
	t.Run("cp", func(t *testing.T) {
		d := d.in(t)
		file, back := filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "back")
		if err := os.WriteFile(file, []byte("copied"), 0o644); err != nil {
			t.Fatal(err)
		}
		d.must("cp", file, "life:/root/copied")
		d.expect(0, "copied", "exec", "life", "cat", "/root/copied")
		d.must("exec", "life", "sh", "-c", "echo back > /root/from-guest")
		d.must("cp", "life:/root/from-guest", back)
		if data, err := os.ReadFile(back); err != nil || string(data) != "back\n" {
			t.Errorf("%q, %v", data, err)
		}
	})

	t.Run("network connect and disconnect", func(t *testing.T) {
		d := d.in(t)
		client := []string{dockerPath, "--host", engines.dockerHost()}
		d.must("network", "create", "late")
		d.must("network", "connect", "late", "life")
		// With it comes Docker's DNS server, which answers for the container itself, too.
		d.await("Name:\tlife", append(client, "exec", "life", "nslookup", "life")...)
		d.expect(0, "eth1", "exec", "life", "ip", "-o", "link")
		d.must("network", "disconnect", "late", "life")
		d.await("links: lo eth0\n", append(client, "exec", "life", "sh", "-c", "echo links: $(ip -o link | cut -d : -f 2)")...)
	})

	d.must("pause", "life")
	inspect("{{.State.Status}}", "paused")
	d.expect(1, "is paused", "exec", "life", "true")
	d.must("unpause", "life")
	inspect("{{.State.Health.Status}}", "healthy")

	d.must("stop", "--time", "60", "life")
	inspect("{{.State.ExitCode}}", "5")
	d.expect(0, "got TERM", "logs", "life")
	d.must("start", "life")
	inspect("{{.State.Health.Status}}", "healthy")
	d.must("restart", "--time", "60", "life")
	inspect("{{.State.Health.Status}}", "healthy")
	d.expect(0, "x\nx\nx\n", "exec", "life", "cat", "/count")
	d.must("kill", "life")
	d.expect(0, "137", "wait", "life")
}

// TestDockerRestartPolicy: a container that fails comes back as often as it may.
func TestDockerRestartPolicy(t *testing.T) {
	d := newDocker(t)
	d.must("run", "--detach", "--name", "fails", "--runtime", "runvm", "--restart", "on-failure:1", "busybox", "sh", "-c", "echo again; exit 3")
	d.await("1 exited 3", dockerPath, "--host", engines.dockerHost(), "inspect", "--format",
		"{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}", "fails")
	d.expect(0, "again\nagain\n", "logs", "fails")
}

// TestDockerOOM: Docker hears of a process that the kernel killed for memory, with both runtimes.
func TestDockerOOM(t *testing.T) {
	d := newDocker(t)
	for runtime, flags := range runtimes {
		args := append(append([]string{"run", "--name", "oom-" + runtime, "--memory", "64m", "--memory-swap", "64m"}, flags...),
			"busybox", "sh", "-c", "tail /dev/zero; exit $?")
		d.expect(137, "", args...)
		d.expect(0, "true\n", "inspect", "--format", "{{.State.OOMKilled}}", "oom-"+runtime)
	}
}
