//go:build e2e

package tests

import (
	"archive/tar"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
)

// observed is what a caller of podman sees of one step.
type observed struct {
	Step string
	Code int
	Out  string
}

// step is one call of podman in the life of a container, such as @C. Each life has names of its own in place of @NAME.
type step struct {
	name  string
	args  []string
	stdin string
	keep  func(stdout string) string // what counts of the output; nil: all of it
}

// asRunc are the flags that let runc run where root lacks CAP_SYS_RESOURCE; runvm gets podman's own limits.
var asRunc = []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}

// life runs the steps with one runtime and returns what was seen.
func life(t *testing.T, p *podmanTest, runtime string, steps []step) []observed {
	t.Helper()
	var seen []observed
	for _, s := range steps {
		args := []string{"--runtime", runtime}
		args = append(args, s.args...)
		if runtime == "runc" && (s.args[0] == "run" || s.args[0] == "create") {
			args = slices.Concat(args[:3], asRunc, args[3:])
		}
		// Names of its own for each life: podman remembers the events of a name.
		own := "-" + filepath.Base(runtime)
		for i := range args {
			args[i] = regexp.MustCompile(`@[A-Za-z]+\b`).ReplaceAllStringFunc(args[i], func(name string) string { return strings.ToLower(name[1:]) + own })
		}
		r := p.runWith(s.stdin, args...)
		out := strings.ReplaceAll(r.stdout, own, "")
		if s.keep != nil {
			out = s.keep(out)
		}
		seen = append(seen, observed{s.name, r.code, out})
	}
	return seen
}

func nothing(string) string { return "" }

func sortedLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// only keeps the lines of a set of names.
func only(names ...string) func(string) string {
	return func(s string) string {
		var kept []string
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); slices.Contains(names, line) {
				kept = append(kept, line)
			}
		}
		slices.Sort(kept)
		return strings.Join(kept, " ")
	}
}

// archived says which of the names are in a tar archive.
func archived(names ...string) func(string) string {
	return func(archive string) string {
		var found []string
		for r := tar.NewReader(strings.NewReader(archive)); ; {
			h, err := r.Next()
			if err != nil {
				return fmt.Sprint(found, err)
			}
			if slices.Contains(names, strings.TrimPrefix(h.Name, "./")) {
				found = append(found, h.Name)
			}
		}
	}
}

// eventNames keeps the kinds of a container's events, in order. An exec's death is noted by another process than its
// start, so those are sorted behind the others.
func eventNames(s string) string {
	var main, exec []string
	for _, m := range regexp.MustCompile(`container (\w+) `).FindAllStringSubmatch(s, -1) {
		if strings.HasPrefix(m[1], "exec") || strings.HasPrefix(m[1], "health") {
			exec = append(exec, m[1])
		} else {
			main = append(main, m[1])
		}
	}
	slices.Sort(exec)
	return strings.Join(append(main, exec...), " ")
}

// TestPodmanAsRunc: one container goes through the same life under runc and under runvm, and podman's user sees the same.
func TestPodmanAsRunc(t *testing.T) {
	p := newPodman(t)
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := "trap 'echo usr1' USR1; trap 'echo bye; exit 9' TERM; echo to stdout; echo to stderr >&2; mkdir -p /made; " +
		"echo data > /made/file; rm -f /etc/group; while :; do sleep 1 & wait $!; done"
	steps := []step{
		{name: "run", keep: nothing, args: []string{"run", "-d", "--name", "@C", "--init", "--hostname", "host", "--network", "none",
			"--health-cmd", "test -e /made/file", "--health-interval", "disable", "--env", "A=b c", "--label", "l=v",
			"--stop-signal", "TERM", "busybox", "sh", "-c", script}},
		{name: "wait until it works", args: []string{"exec", "@C", "sh", "-c", "until [ -e /made/file ]; do sleep 0.1; done"}},
		{name: "health", args: []string{"healthcheck", "run", "@C"}},
		{name: "health in inspect", args: []string{"inspect", "--format", "{{.State.Health.Status}} {{.State.Health.FailingStreak}}", "@C"}},
		{name: "init", args: []string{"exec", "@C", "sh", "-c", "tr '\\000' ' ' < /proc/1/cmdline | cut -c1-20"}},
		{name: "environment", args: []string{"exec", "-e", "X=1=2", "@C", "sh", "-c", "echo $A,$X,$HOSTNAME,$container"}},
		{name: "stdin", stdin: "line one\nline two\n", args: []string{"exec", "-i", "@C", "cat"}},
		{name: "exec as a user in a directory", args: []string{"exec", "-u", "1000:2000", "-w", "/made", "@C", "sh", "-c", "id; pwd; umask"}},
		{name: "exec a missing user", keep: nothing, args: []string{"exec", "-u", "nosuchuser", "@C", "true"}},
		{name: "exec in a missing directory", keep: nothing, args: []string{"exec", "-w", "/nosuchdir", "@C", "true"}},
		{name: "exec not executable", keep: nothing, args: []string{"exec", "@C", "/made/file"}},
		{name: "exec privileged", args: []string{"exec", "--privileged", "@C", "sh", "-c", "grep CapBnd /proc/self/status | grep -c 000001ffffffffff || true"}, keep: nothing},
		{name: "exec in the background", keep: nothing, args: []string{"exec", "-d", "@C", "sh", "-c", "echo later > /made/later"}},
		{name: "its effect", args: []string{"exec", "@C", "sh", "-c", "until [ -s /made/later ]; do sleep 0.1; done; cat /made/later"}},
		{name: "signal", keep: nothing, args: []string{"kill", "--signal", "USR1", "@C"}},
		{name: "copy a directory in", keep: nothing, args: []string{"cp", dir + "/.", "@C:/in"}},
		{name: "seen inside", args: []string{"exec", "@C", "sh", "-c", "cd /in && stat -c '%n %a %u:%g' * && cat *"}},
		{name: "copy through a pipe", args: []string{"cp", "@C:/in/one", "-"}, keep: func(s string) string { return regexp.MustCompile(`one|\x00+`).FindString(s) }},
		{name: "pause", keep: nothing, args: []string{"pause", "@C"}},
		{name: "exec while paused", keep: nothing, args: []string{"exec", "@C", "true"}},
		{name: "unpause", keep: nothing, args: []string{"unpause", "@C"}},
		{name: "diff", args: []string{"diff", "@C"}, keep: func(s string) string { return only("A /made", "A /made/file", "A /in", "D /etc/group")(s) }},
		{name: "export", args: []string{"export", "@C"}, keep: archived("made/file", "in/one", "etc/group")},
		{name: "commit", keep: nothing, args: []string{"commit", "-q", "@C", "@committed"}},
		{name: "rename", args: []string{"rename", "@C", "@D"}},
		{name: "stop", keep: nothing, args: []string{"stop", "--time", "60", "@D"}},
		{name: "exit code", args: []string{"inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Pid}}", "@D"}},
		{name: "logs", args: []string{"logs", "@D"}, keep: sortedLines},
		{name: "exec when stopped", keep: nothing, args: []string{"exec", "@D", "true"}},
		{name: "start again", args: []string{"start", "@D"}},
		{name: "double start", args: []string{"start", "@D"}},
		{name: "remove while it runs", keep: nothing, args: []string{"rm", "@D"}},
		{name: "kill", args: []string{"kill", "@D"}},
		{name: "wait", args: []string{"wait", "@D"}},
		{name: "events", keep: eventNames, args: []string{"events", "--stream=false", "--filter", "container=@D"}},
		{name: "remove", keep: nothing, args: []string{"rm", "--force", "@D"}},
		{name: "what was committed", args: []string{"run", "--rm", "--network", "none", "@committed", "sh", "-c", "cat /made/file /in/two; ls /etc/group"}},
		{name: "remove the image", keep: nothing, args: []string{"rmi", "@committed"}},
	}
	want := life(t, p, "runc", steps)
	for _, o := range want {
		if o.Step == "run" && o.Code != 0 {
			t.Fatalf("runc, the oracle, does not run here: %+v", o)
		}
		if o.Step == "export" && !strings.Contains(o.Out, "made/file") {
			t.Errorf("runc's export: %+v", o)
		}
	}
	if diff := cmp.Diff(want, life(t, p, runvmPath, steps)); diff != "" {
		t.Errorf("runvm differs from runc (-runc +runvm):\n%s", diff)
	}
}

// TestPodmanAttach: a terminal is attached to a container, left with the detach keys, and taken up again.
func TestPodmanAttach(t *testing.T) {
	p := newPodman(t)
	p.must("run", "-dit", "--name", "a", "--network", "none", "busybox", "sh")
	attach := func(input string, want string) {
		t.Helper()
		cmd := exec.Command("podman", append(engine.flags(), "attach", "--detach-keys", "ctrl-e", "a")...)
		terminal, err := pty.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		defer terminal.Close()
		stop := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
		defer stop.Stop()
		if _, err := terminal.Write([]byte(input)); err != nil {
			t.Fatal(err)
		}
		var seen []byte
		buf := make([]byte, 4096)
		await := func(want string) {
			t.Helper()
			for !strings.Contains(string(seen), want) {
				n, err := terminal.Read(buf)
				seen = append(seen, buf[:n]...)
				if err != nil {
					t.Fatalf("the terminal showed %q and no %q: %v", seen, want, err)
				}
			}
		}
		await(want)
		if strings.Contains(input, "exit") {
			_ = cmd.Wait()
			return
		}
		// podman 4.3 ends the line when it has detached, and then waits for a key that nobody will press, with runc too.
		if _, err := terminal.Write([]byte{5}); err != nil {
			t.Fatal(err)
		}
		seen = nil
		await("\r\n")
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	attach("V=kept; echo $((20+22))\n", "42\r\n")
	p.expect(0, "true", "inspect", "--format", "{{.State.Running}}", "a")
	attach("echo still:$V\n", "still:kept\r\n")
	attach("echo bye-$V; exit 3\n", "bye-kept")
	p.expect(0, "3", "wait", "a")
}
