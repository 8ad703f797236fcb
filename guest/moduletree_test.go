package guest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func fakeTree(t *testing.T, extra fstest.MapFS) *moduleTree {
	t.Helper()
	fsys := fstest.MapFS{
		"modules.builtin":                        {Data: []byte("kernel/net/packet/af_packet.ko\n")},
		"kernel/drivers/virtio/virtio.ko":        {Data: fakeModule(t, "depends=virtio_ring")},
		"kernel/drivers/virtio/virtio_ring.ko":   {Data: fakeModule(t, "depends=")},
		"kernel/drivers/virtio/virtio_pci.ko":    {Data: fakeModule(t, "depends=virtio,virtio_ring,af_packet")},
		"kernel/drivers/char/virtio-rng.ko":      {Data: fakeModule(t, "depends=virtio")},
		"kernel/arch/x86/crypto/crc32c-intel.ko": {Data: fakeModule(t, "alias=crypto-crc32c")},
		"kernel/crypto/crc32c_generic.ko":        {Data: fakeModule(t, "alias=crypto-crc32c")},
		"kernel/lib/libcrc32c.ko":                {Data: fakeModule(t, "softdep=pre: crypto-crc32c no-such")},
		"kernel/broken/needy.ko":                 {Data: fakeModule(t, "depends=absent")},
		"kernel/broken/a.ko":                     {Data: fakeModule(t, "depends=b")},
		"kernel/broken/b.ko":                     {Data: fakeModule(t, "depends=a")},
	}
	for name, file := range extra {
		fsys[name] = file
	}
	tree, err := openModules(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestLoadOrder(t *testing.T) {
	var zipped bytes.Buffer
	pack(t, gzip.NewWriter(&zipped), fakeModule(t, "depends=virtio"))
	tree := fakeTree(t, fstest.MapFS{"kernel/z/zipped.ko.gz": {Data: zipped.Bytes()}})
	for name, want := range map[string][]string{
		"virtio_pci": {"virtio_ring", "virtio", "virtio_pci"},
		"virtio_rng": {"virtio_ring", "virtio", "virtio_rng"},
		"libcrc32c":  {"crc32c_generic", "libcrc32c"},
		"zipped":     {"virtio_ring", "virtio", "zipped"},
		"af_packet":  nil,
	} {
		got, err := tree.loadOrder(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, err := tree.loadOrder("needy"); !errors.Is(err, errNoModule) || !strings.Contains(err.Error(), "absent") {
		t.Errorf("missing dependency: %v", err)
	}
	if _, err := tree.loadOrder("a"); err == nil {
		t.Error("modules that depend on each other were accepted")
	}
}

func TestLoadOrderWithInstalledAliases(t *testing.T) {
	tree := fakeTree(t, fstest.MapFS{
		"modules.alias": {Data: []byte("# comment\nalias crypto-crc32c virtio_rng\nalias broken\n")},
	})
	got, err := tree.loadOrder("libcrc32c")
	if diff := cmp.Diff([]string{"virtio_ring", "virtio", "virtio_rng", "libcrc32c"}, got); err != nil || diff != "" {
		t.Errorf("error %v, %s", err, diff)
	}
}

func TestModuleName(t *testing.T) {
	for file, want := range map[string]string{
		"kernel/a/virtio-rng.ko": "virtio_rng", "x.ko.xz": "x", "x.ko.zst": "x", "x.ko.gz": "x",
		"x.ko.bak": "", "Makefile": "", "x.kov": "",
	} {
		got, ok := moduleName(file)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v, want %q", file, got, ok, want)
		}
	}
}
