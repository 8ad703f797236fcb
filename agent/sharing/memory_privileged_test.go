//go:build privileged

package sharing

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMemory: a tmpfs is there from its first user to its last.
func TestMemory(t *testing.T) {
	m := Memory{Dir: filepath.Join(t.TempDir(), "shm")}
	dir := filepath.Join(m.Dir, "42")
	for range 2 {
		if err := m.Take("42", 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, make([]byte, 1<<19), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "more"), make([]byte, 1<<20), 0o600); err == nil {
		t.Error("it has no limit")
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		t.Errorf("no tmpfs: %x, %v", st.Type, err)
	}
	if err := m.Give("42"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if err := m.Give("42"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory is left")
	}
}
