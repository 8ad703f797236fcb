package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// image makes a root filesystem with hostile links next to a directory "outside" that must stay empty.
func image(t *testing.T) (rootfs, outside string) {
	t.Helper()
	dir := t.TempDir()
	rootfs, outside = filepath.Join(dir, "rootfs"), filepath.Join(dir, "outside")
	at := func(name string) string { return filepath.Join(rootfs, name) }
	err := errors.Join(
		os.Mkdir(outside, 0o755), os.MkdirAll(at("usr/dir"), 0o755), os.WriteFile(at("file"), []byte("kept"), 0o600),
		os.Symlink("../../outside", at("up")),
		os.Symlink(outside, at("absolute")),
		os.Symlink("/missing/target", at("dangling")),
		os.Symlink("loop2", at("loop1")), os.Symlink("loop1", at("loop2")),
		os.Symlink("usr/dir", at("inner")),
	)
	if err != nil {
		t.Fatal(err)
	}
	return rootfs, outside
}

func TestMakeMountpoints(t *testing.T) {
	rootfs, outside := image(t)
	dir := func(path string) Mountpoint { return Mountpoint{Path: path, Dir: true} }
	file := func(path string) Mountpoint { return Mountpoint{Path: path} }
	points := []Mountpoint{
		dir("/a/b/c"), file("/etc/hosts"), dir("/usr/dir"), file("/file"), dir("/up/x"), file("/up/f"),
		dir("/absolute/x"), dir("/absolute"), dir("/dangling"), file("/dangling/f"), file("/inner/f"), dir("/../../top"),
	}
	if err := MakeMountpoints(rootfs, points); err != nil {
		t.Fatal(err)
	}
	// A second time everything exists.
	if err := MakeMountpoints(rootfs, points); err != nil {
		t.Fatal(err)
	}
	// Links that lead out of the root stay inside, as for a process in the container.
	inside, err := filepath.Rel("/", outside)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a/b/c/", "etc/hosts", "file", "missing/target/f", "outside/f", "outside/x/", "top/", "usr/dir/f", inside + "/x/",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, leaves(t, rootfs)); diff != "" {
		t.Error(diff)
	}
	if got := leaves(t, outside); len(got) != 0 {
		t.Errorf("made outside of the root: %v", got)
	}
	if content, err := os.ReadFile(filepath.Join(rootfs, "file")); err != nil || string(content) != "kept" {
		t.Errorf("the existing file holds %q, %v", content, err)
	}
}

func TestMakeMountpointsErrors(t *testing.T) {
	for point, want := range map[Mountpoint]error{
		{Path: "/file", Dir: true}:      syscall.ENOTDIR,
		{Path: "/file/x", Dir: true}:    syscall.ENOTDIR,
		{Path: "/file/x", Dir: false}:   syscall.ENOTDIR,
		{Path: "/usr/dir", Dir: false}:  syscall.EISDIR,
		{Path: "/loop1", Dir: true}:     syscall.ELOOP,
		{Path: "/loop1/x", Dir: false}:  syscall.ELOOP,
		{Path: "/absolute", Dir: false}: nil,
	} {
		rootfs, outside := image(t)
		if err := MakeMountpoints(rootfs, []Mountpoint{point}); !errors.Is(err, want) {
			t.Errorf("%+v: error %v, want %v", point, err, want)
		}
		if got := leaves(t, outside); len(got) != 0 {
			t.Errorf("%+v: made outside of the root: %v", point, got)
		}
	}
	err := MakeMountpoints(filepath.Join(t.TempDir(), "missing"), []Mountpoint{{Path: "/x"}})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error = %v, want fs.ErrNotExist", err)
	}
}

func TestMakeMountpointsInVolume(t *testing.T) {
	rootfs, outside := image(t)
	volume := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(volume, "link")); err != nil {
		t.Fatal(err)
	}
	points := []Mountpoint{
		{Path: "/a/b", Dir: true, Volume: volume}, {Path: "/link/x", Dir: true, Volume: volume},
		{Path: "/a", Dir: true, Volume: volume, ReadOnly: true},
	}
	if err := MakeMountpoints(rootfs, points); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a/b/"}, leaves(t, volume)); diff != "" {
		t.Error(diff)
	}
	err := MakeMountpoints(rootfs, []Mountpoint{{Path: "/b", Dir: true, Volume: volume, ReadOnly: true}})
	if !errors.Is(err, syscall.EROFS) {
		t.Errorf("error = %v, want EROFS", err)
	}
	if got := leaves(t, outside); len(got) != 0 {
		t.Errorf("made outside of the volume: %v", got)
	}
}

// leaves lists files and empty directories, these with "/" at the end, but not symbolic links.
func leaves(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if !d.IsDir() {
			out = append(out, name)
			return nil
		}
		entries, err := os.ReadDir(path)
		if len(entries) == 0 {
			out = append(out, name+"/")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}
