//go:build e2e

package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestOverride: whether a user may make something in a directory of another's is decided by the guest's kernel, as runc
// leaves it to the host's: with CAP_DAC_OVERRIDE yes, without it no. What is made belongs to the user.
func TestOverride(t *testing.T) {
	shareTypes(t, func(t *testing.T, r *runtime, kind string) {
		volume := t.TempDir()
		if err := os.Chmod(volume, 0o755); err != nil {
			t.Fatal(err)
		}
		capabilities := []string{"CAP_DAC_OVERRIDE"}
		make := "mkdir /data/d && echo x > /data/f && ln -s f /data/l && ln /data/f /data/h && mv /data/h /data/m"
		bundle := newBundle(t, []string{"sh", "-c", make + "; echo code $?; sleep 1000"}, func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000, GID: 1001}
			s.Process.Capabilities = &specs.LinuxCapabilities{
				Bounding: capabilities, Permitted: capabilities, Inheritable: capabilities, Effective: capabilities,
				Ambient: capabilities,
			}
			s.Mounts = append(s.Mounts, bind(volume, "/data"))
		})
		r.must(t, "run", "--detach", "--bundle", bundle, "c1")
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if _, err := os.Lstat(filepath.Join(volume, "m")); err == nil {
				break
			}
		}
		for _, name := range []string{"d", "f", "l", "m"} {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(volume, name), &st); err != nil || st.Uid != 1000 || st.Gid != 1001 {
				t.Errorf("%s belongs to %d:%d, %v", name, st.Uid, st.Gid, err)
			}
		}
		process := filepath.Join(t.TempDir(), "process.json")
		text := `{"user": {"uid": 1002, "gid": 1002}, "args": ["/bin/touch", "/data/denied"], "cwd": "/", "capabilities": {}}`
		if err := os.WriteFile(process, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := r.run(t, "exec", "--process", process, "c1"); got.code != 1 || !strings.Contains(got.stderr, "Permission denied") {
			t.Errorf("a user without the capability: %+v", got)
		}
	})
}
