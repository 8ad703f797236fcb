//go:build privileged

package hostoom

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// killerVariable makes the test program the one who calls Kill, in the cgroup that it names.
const killerVariable = "HOSTOOM_TEST_CGROUP"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == VictimCommand {
		_ = VictimMain()
		os.Exit(1)
	}
	if dir := os.Getenv(killerVariable); dir != "" {
		g, err := Open(dir)
		if err == nil {
			err = g.Kill()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// memoryCgroup makes an empty memory cgroup.
func memoryCgroup(t *testing.T) string {
	t.Helper()
	parent := "/sys/fs/cgroup"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		parent = "/sys/fs/cgroup/memory"
	}
	dir, err := os.MkdirTemp(parent, "hostoom-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// kills reads how many processes the kernel has killed in the cgroup.
func kills(t *testing.T, dir string) int {
	t.Helper()
	for _, name := range []string{"memory.oom_control", "memory.events"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if text, ok := strings.CutPrefix(line, "oom_kill "); ok {
				n, err := strconv.Atoi(strings.TrimSpace(text))
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	t.Fatal("the cgroup counts no kills")
	return 0
}

// TestKill: the kernel counts one kill, the other member of the cgroup lives to end with code 0, and the limit is what it was.
func TestKill(t *testing.T) {
	dir := memoryCgroup(t)
	g, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	before, err := g.read(g.files.limit)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The one who kills is a process of its own: the test does not join the cgroup.
	cmd := exec.Command("sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$1"`, dir, exe)
	cmd.Env = append(os.Environ(), killerVariable+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if n := kills(t, dir); n != 1 {
		t.Errorf("%d kills, want 1", n)
	}
	if after, err := g.read(g.files.limit); err != nil || after != before {
		t.Errorf("limit %s, was %s (%v)", after, before, err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := g.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}
