package image

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func install(t *testing.T, dir string, names ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content := "x"
		if name == ManifestName {
			content = `{"kernelRelease": "` + filepath.Base(dir) + `"}`
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	exeDir := filepath.Join(root, "bin")
	if _, err := Find("", "", exeDir); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), exeDir+"/guest") {
		t.Errorf("nothing installed: %v", err)
	}
	install(t, filepath.Join(exeDir, "guest"), KernelName) // incomplete: passed over
	shared := filepath.Join(root, "share", "runvm")
	install(t, shared, KernelName, InitrdName, ManifestName)
	img, err := Find("", "", exeDir)
	want := Image{
		Kernel: filepath.Join(shared, KernelName), Initrd: filepath.Join(shared, InitrdName),
		Manifest: Manifest{KernelRelease: "runvm"},
	}
	if err != nil || img.Kernel != want.Kernel || img.Initrd != want.Initrd || img.Manifest.KernelRelease != "runvm" {
		t.Errorf("got %+v, %v, want %+v", img, err, want)
	}
	install(t, filepath.Join(exeDir, "guest"), InitrdName)
	if img, err = Find("", "", exeDir); err != nil || img.Kernel != filepath.Join(exeDir, "guest", KernelName) {
		t.Errorf("got %+v, %v, want the one beside the program", img, err)
	}
	small := filepath.Join(exeDir, "guest", SmallDir)
	install(t, small, KernelName) // incomplete: passed over
	if img, err = Find("", "", exeDir); err != nil || img.Kernel != filepath.Join(exeDir, "guest", KernelName) {
		t.Errorf("got %+v, %v, want the complete one", img, err)
	}
	install(t, small, InitrdName)
	if img, err = Find("", "", exeDir); err != nil || img.Kernel != filepath.Join(small, KernelName) {
		t.Errorf("got %+v, %v, want the one with the small kernel", img, err)
	}
}

func TestFindConfigured(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "bzImage", "initrd")
	kernel, initrd := filepath.Join(dir, "bzImage"), filepath.Join(dir, "initrd")
	if img, err := Find(kernel, initrd, "/nonexistent"); err != nil || img.Kernel != kernel || img.Initrd != initrd {
		t.Errorf("got %+v, %v", img, err)
	}
	for _, pair := range [][2]string{{kernel, ""}, {"", initrd}, {kernel, dir}, {dir + "/none", initrd}} {
		if _, err := Find(pair[0], pair[1], "/nonexistent"); err == nil || !strings.Contains(err.Error(), "guest.") {
			t.Errorf("%v: error %v does not name the setting", pair, err)
		}
	}
	install(t, dir, ManifestName)
	if err := os.WriteFile(filepath.Join(dir, ManifestName), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(kernel, initrd, "/nonexistent"); err == nil {
		t.Error("a broken manifest was accepted")
	}
}
