package guest

import (
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"
)

func TestFindKernel(t *testing.T) {
	fsys := fstest.MapFS{
		"usr/lib/modules/6.1/vmlinuz":      {},
		"usr/lib/modules/6.2/modules.dep":  {},
		"boot/vmlinuz-6.3":                 {},
		"usr/lib/modules/6.3/modules.dep":  {},
		"usr/lib/modules/extra/readme.txt": {},
	}
	for want, vmlinuz := range map[string]string{"6.1": "usr/lib/modules/6.1/vmlinuz", "6.3": "boot/vmlinuz-6.3"} {
		got, err := findKernel(fsys, want)
		if err != nil || got.vmlinuz != vmlinuz || got.modules != "usr/lib/modules/"+want {
			t.Errorf("%s: %q and %q, error %v", want, got.vmlinuz, got.modules, err)
		}
	}
	for _, release := range []string{"", "6.2", "extra"} {
		if got, err := findKernel(fsys, release); err == nil {
			t.Errorf("release %q: found %s", release, got.vmlinuz)
		}
	}
}

func TestBuildFromPackage(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("packages are for hosts with dpkg-deb:", err)
	}
	root := kernelRoot(t)
	write(t, filepath.Join(root, "DEBIAN/control"), []byte("Package: linux-image-test\nVersion: 1\n"+
		"Architecture: amd64\nMaintainer: nobody <nobody@example.org>\nDescription: test\n"))
	deb := filepath.Join(t.TempDir(), "kernel.deb")
	out, err := exec.CommandContext(t.Context(), "dpkg-deb", "-Znone", "--build", root, deb).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	o := options(t, root)
	fromRoot, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	o.KernelRoot, o.KernelDeb = "", deb
	fromDeb, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if fromRoot.InitramfsSHA256 != fromDeb.InitramfsSHA256 || fromRoot.KernelSHA256 != fromDeb.KernelSHA256 {
		t.Error("the package gives another image than its content")
	}
}
