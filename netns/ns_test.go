package netns

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInodeOfOtherFiles(t *testing.T) {
	dir := t.TempDir()
	regular, fifo := filepath.Join(dir, "regular"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(regular, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		filepath.Join(dir, "missing"): fs.ErrNotExist,
		"":                            fs.ErrNotExist,
		regular:                       ErrNotNamespace,
		fifo:                          ErrNotNamespace,
		dir:                           ErrNotNamespace,
		"/proc/self/ns/mnt":           ErrNotNamespace,
	} {
		if _, err := Inode(path); !errors.Is(err, want) {
			t.Errorf("Inode(%q): got %v, want %v", path, err, want)
		}
		if err := Do(path, func() error { t.Error("ran"); return nil }); !errors.Is(err, want) {
			t.Errorf("Do(%q): got %v, want %v", path, err, want)
		}
		if _, err := Read(path); !errors.Is(err, want) {
			t.Errorf("Read(%q): got %v, want %v", path, err, want)
		}
		if _, err := Attach(path, "eth0", TapOptions{}); !errors.Is(err, want) {
			t.Errorf("Attach(%q): got %v, want %v", path, err, want)
		}
		if _, err := Watch(t.Context(), path); !errors.Is(err, want) {
			t.Errorf("Watch(%q): got %v, want %v", path, err, want)
		}
		if err := Cleanup(path); err != nil {
			t.Errorf("Cleanup(%q): %v", path, err)
		}
	}
}

func TestIsHost(t *testing.T) {
	path := "/proc/1/ns/net"
	if _, err := Inode(path); err != nil {
		path = "/proc/self/ns/net" // PID 1's is not ours to read
	}
	if host, err := IsHost(path); !host || err != nil {
		t.Errorf("IsHost(%q): %v, %v, want true", path, host, err)
	}
}

func TestForeignProcessesInOwnNamespace(t *testing.T) {
	self := os.Getpid()
	pids, err := ForeignProcesses("/proc/self/ns/net", func(pid int) bool { return pid != self })
	if err != nil || !slices.Equal(pids, []int{self}) {
		t.Errorf("got %v, %v, want only %d", pids, err, self)
	}
	pids, err = ForeignProcesses("/proc/self/ns/net", func(pid int) bool { return pid == self })
	if err != nil || slices.Contains(pids, self) {
		t.Errorf("got %v, %v, want all but %d", pids, err, self)
	}
}

func TestTapNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "sixteen-bytes-xx", "a/b", "a b", "tap%d", "a:b"} {
		if _, err := openTap(TapOptions{Name: name}); !errors.Is(err, unix.EINVAL) {
			t.Errorf("tap name %q: got %v, want EINVAL", name, err)
		}
	}
}
