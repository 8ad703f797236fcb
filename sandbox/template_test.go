package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOpenOwn: nothing is opened but a file of root's alone, and nothing makes it wait.
func TestOpenOwn(t *testing.T) {
	dir := t.TempDir()
	good, readable := filepath.Join(dir, "good"), filepath.Join(dir, "readable")
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.WriteFile(good, nil, 0o600), os.WriteFile(readable, nil, 0o644),
		os.Symlink(good, link), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{readable, link, fifo, dir, filepath.Join(dir, "none")} {
		if f, err := openOwn(path); err == nil {
			_ = f.Close()
			t.Errorf("opened %s", path)
		}
	}
	f, err := openOwn(good)
	if os.Geteuid() != 0 {
		if err == nil {
			t.Error("opened a file of another user than root")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}
