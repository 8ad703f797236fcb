//go:build privileged

package namespace

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestDo: what is started inside has the namespaces, and the thread is back home afterwards.
func TestDo(t *testing.T) {
	other := exec.Command("cat")
	other.SysProcAttr = &syscall.SysProcAttr{Cloneflags: IPC.Flag() | UTS.Flag() | PID.Flag() | Net.Flag()}
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close(); _ = other.Wait() }()
	paths := map[Kind]string{}
	for _, kind := range Kinds() {
		paths[kind] = PathOf(other.Process.Pid, kind)
		want, err := os.Readlink(paths[kind])
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = Do(map[Kind]string{kind: paths[kind]}, func() error {
			// Not its /proc/self: in another PID namespace it has none.
			inside := exec.Command("sh", "-c", "read x; readlink /proc/self/ns/"+string(kind))
			inside.Stdout = &out
			if kind == PID {
				inside = exec.Command("cat")
				stdin, err := inside.StdinPipe()
				if err != nil {
					return err
				}
				defer func() { _ = stdin.Close(); _ = inside.Wait() }()
				if err := inside.Start(); err != nil {
					return err
				}
				link, err := os.Readlink(PathOf(inside.Process.Pid, kind))
				out.WriteString(link)
				return err
			}
			return inside.Run()
		})
		if got := strings.TrimSpace(out.String()); err != nil || got != want {
			t.Errorf("%s: started in %q, want %q (%v)", kind, got, want, err)
		}
		home, _ := os.Readlink(kind.own())
		mine, _ := os.Readlink("/proc/self/ns/" + string(kind))
		if home != mine {
			t.Errorf("%s: the thread is in %s, not in %s", kind, home, mine)
		}
	}
}
