package guest

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runvm/runvm/guest/image"
	"github.com/runvm/runvm/guest/modlist"
)

var update = flag.Bool("update", false, "rewrite golden files")

const release = "6.1.0-test"

// kernelRoot makes a tree with a kernel and the modules that an image must have.
func kernelRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	modules := "lib/modules/" + release + "/"
	for name, data := range map[string][]byte{
		"boot/vmlinuz-" + release:                fakeBzImage(compressors()["zstd"](t, fakeKernel(t, xenPVHNote))),
		modules + "modules.builtin":              []byte("kernel/net/packet/af_packet.ko\n"),
		modules + "kernel/d/virtio.ko":           fakeModule(t, "depends="),
		modules + "kernel/d/virtio_ring.ko":      fakeModule(t, "depends=virtio"),
		modules + "kernel/d/virtio_pci.ko":       fakeModule(t, "depends=virtio,virtio_ring", "alias=pci:v00001AF4d*"),
		modules + "kernel/d/virtio_console.ko":   fakeModule(t, "depends=virtio,virtio_ring"),
		modules + "kernel/d/virtio_net.ko":       fakeModule(t, "depends=virtio"),
		modules + "kernel/d/virtio-rng.ko":       fakeModule(t, "depends=virtio"),
		modules + "kernel/fs/fuse.ko":            fakeModule(t, "depends=", "alias=fs-fuse"),
		modules + "kernel/fs/virtiofs.ko":        fakeModule(t, "depends=fuse,virtio"),
		modules + "kernel/fs/overlay.ko":         fakeModule(t, "depends=", "alias=fs-overlay"),
		modules + "kernel/net/nf_tables.ko":      fakeModule(t, "depends=nfnetlink"),
		modules + "kernel/net/nfnetlink.ko":      fakeModule(t, "alias=net-pf-16-proto-12"),
		modules + "kernel/sound/not-in-image.ko": fakeModule(t, "depends="),
	} {
		write(t, filepath.Join(root, name), data)
	}
	return root
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func options(t *testing.T, root string) Options {
	t.Helper()
	agent := filepath.Join(t.TempDir(), "agent")
	write(t, agent, fakeKernel(t, 0))
	return Options{KernelRoot: root, Agent: agent, Out: filepath.Join(t.TempDir(), "guest")}
}

func TestBuild(t *testing.T) {
	var log bytes.Buffer
	o := options(t, kernelRoot(t))
	o.Log = &log
	m, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, filepath.Join(o.Out, image.InitrdName))
	golden(t, "modules.json", files["lib/modules/modules.json"])
	list, err := modlist.ReadModules(bytes.NewReader(files["lib/modules/modules.json"]))
	if err != nil {
		t.Fatal(err)
	}
	for name := range list.OnDemand {
		for _, file := range list.Resolve(name) {
			if len(files["lib/modules/"+file]) == 0 {
				t.Errorf("%s of the list is not in the image", file)
			}
		}
	}
	for _, name := range []string{"init", "dev/console", "dev/null", "proc", "sys", "dev", "run", "tmp", "newroot"} {
		if _, ok := files[name]; !ok {
			t.Errorf("no %s in the image", name)
		}
	}
	if _, ok := files["lib/modules/not_in_image.ko"]; ok {
		t.Error("a module that nothing names is in the image")
	}
	if !strings.Contains(log.String(), "warning: group 9p: the kernel does not have the module 9p: left out") {
		t.Errorf("no warning about 9p in:\n%s", log.String())
	}
	img, err := image.Find("", "", filepath.Dir(o.Out))
	if err != nil || m.KernelRelease != release {
		t.Errorf("release %q, error %v", m.KernelRelease, err)
	}
	if diff := cmp.Diff(m, img.Manifest); diff != "" {
		t.Error(diff)
	}
}

func TestBuildIsReproducible(t *testing.T) {
	root := kernelRoot(t)
	a, b := options(t, root), options(t, root)
	for _, o := range []Options{a, b} {
		if _, err := Build(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(a.Out)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d files, error %v, want 3 files", len(entries), err)
	}
	for _, e := range entries {
		if !bytes.Equal(read(t, filepath.Join(a.Out, e.Name())), read(t, filepath.Join(b.Out, e.Name()))) {
			t.Errorf("%s differs between two builds", e.Name())
		}
	}
}

// A kernel that has everything built in gives an image without modules and without a list of them.
func TestBuildWithoutModules(t *testing.T) {
	root := t.TempDir()
	builtin := ""
	for _, g := range groups() {
		for _, name := range slices.Concat(g.required, g.optional) {
			builtin += "kernel/" + name + ".ko\n"
		}
	}
	write(t, filepath.Join(root, "boot/vmlinuz-"+release), fakeKernel(t, xenPVHNote))
	write(t, filepath.Join(root, "lib/modules", release, "modules.builtin"), []byte(builtin))
	if err := os.Mkdir(filepath.Join(root, "lib/modules", release, "kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	o := options(t, root)
	m, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if files, ok := m.Modules["virtiofs"]; !ok || len(files) > 0 {
		t.Errorf("group virtiofs has the files %v, present: %v", files, ok)
	}
	for name := range unpack(t, filepath.Join(o.Out, image.InitrdName)) {
		if strings.HasPrefix(name, "lib") {
			t.Errorf("%s is in the image", name)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no kernel":    func(o *Options) { o.KernelRoot = "" },
		"two kernels":  func(o *Options) { o.KernelDeb = "x.deb" },
		"no agent":     func(o *Options) { o.Agent = "/nonexistent" },
		"release":      func(o *Options) { o.KernelRelease = "5.0" },
		"no such root": func(o *Options) { o.KernelRoot = "/nonexistent" },
		"bad package":  func(o *Options) { o.KernelRoot, o.KernelDeb = "", o.Agent },
		"agent": func(o *Options) {
			write(t, o.Agent, []byte("#!/bin/sh\n"))
		},
		"required module": func(o *Options) {
			err := os.Remove(filepath.Join(o.KernelRoot, "lib/modules", release, "kernel/d/virtio_net.ko"))
			if err != nil {
				t.Fatal(err)
			}
		},
		"several kernels": func(o *Options) {
			write(t, filepath.Join(o.KernelRoot, "lib/modules/6.2/vmlinuz"), []byte("x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, kernelRoot(t))
			change(&o)
			if _, err := Build(t.Context(), o); err == nil {
				t.Fatal("no error")
			}
			entries, err := os.ReadDir(o.Out)
			if err != nil && !errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
				t.Errorf("left behind: %v, error %v", entries, err)
			}
		})
	}
}

func unpack(t *testing.T, name string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, e := range readCPIO(t, read(t, name)) {
		files[e.name] = e.data
	}
	return files
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		write(t, file, got)
	}
	if diff := cmp.Diff(string(read(t, file)), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, diff)
	}
}
