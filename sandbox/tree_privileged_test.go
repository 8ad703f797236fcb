//go:build privileged

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inMountNamespace runs the rest of the test on a thread with a mount namespace of its own.
func inMountNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
}

func mountsBelow(t *testing.T, dir string) int {
	t.Helper()
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(data), " "+dir+"/")
}

// TestTree: mounts come and go while the tree is in use, nobody but the tree makes names in it, and read-only is
// read-only.
func TestTree(t *testing.T) {
	source, root := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	inMountNamespace(t)
	tree, err := newTree(root)
	if err != nil {
		t.Fatal(err)
	}
	add := func(container string, m Mount) error {
		f, err := CloneMount(m)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return tree.add(container, m, int(f.Fd()))
	}
	for _, m := range []Mount{
		{Place: "rootfs", Source: source, Dir: true},
		{Place: "mounts/0", Source: source, Dir: true, ReadOnly: true},
		{Place: "mounts/1", Source: filepath.Join(source, "file")},
	} {
		for _, c := range []string{"a", "b"} {
			if err := add(c, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(root, "a/rootfs/new"), nil, 0o600); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"a/mounts/0/new", "new", "a/new", "a/mounts/new"} {
		if err := os.WriteFile(filepath.Join(root, path), nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("write %s: %v, want EROFS", path, err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(root, "b/mounts/1")); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
	for _, place := range []string{"../x", "/x", ""} {
		if err := add("a", Mount{Place: place, Source: source, Dir: true}); err == nil && place != "" {
			t.Errorf("place %q was taken", place)
		}
	}
	for _, c := range []string{"a", "nobody", "a"} {
		if err := tree.remove(c); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "a")); err == nil || mountsBelow(t, root) != 3 {
		t.Errorf("left of a: %v; %d mounts", err, mountsBelow(t, root))
	}
	if _, err := os.Stat(filepath.Join(source, "file")); err != nil {
		t.Errorf("the source was emptied: %v", err)
	}
	for range 2 {
		if err := tree.close(); err != nil {
			t.Error(err)
		}
	}
	if err := add("c", Mount{Place: "rootfs", Source: source, Dir: true}); !errors.Is(err, errTreeClosed) {
		t.Errorf("adding to a closed tree: %v", err)
	}
	if mountsBelow(t, root) != 0 {
		t.Error("mounts are left")
	}
}
