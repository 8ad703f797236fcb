package guest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadModinfo(t *testing.T) {
	module := fakeModule(t, "license=GPL", "depends=virtio-ring,virtio", "alias=fs-x", "alias=pci:v*d1",
		"softdep=pre: crypto-crc32c b post: c", "name=x")
	got, err := readModinfo(bytes.NewReader(module))
	if err != nil {
		t.Fatal(err)
	}
	want := modinfo{
		depends: []string{"virtio_ring", "virtio"},
		pre:     []string{"crypto-crc32c", "b"},
		aliases: []string{"fs-x", "pci:v*d1"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(modinfo{})); diff != "" {
		t.Error(diff)
	}
}

func TestReadModinfoRefuses(t *testing.T) {
	for name, data := range map[string][]byte{"text": []byte("text"), "kernel": fakeKernel(t, xenPVHNote), "empty": nil} {
		if _, err := readModinfo(bytes.NewReader(data)); !errors.Is(err, errModule) {
			t.Errorf("%s: error %v, want errModule", name, err)
		}
	}
}

func FuzzReadModinfo(f *testing.F) {
	f.Add(fakeModule(f, "depends=a,b", "alias=x", "softdep=pre: y post: z"))
	f.Add(fakeKernel(f, xenPVHNote))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = readModinfo(bytes.NewReader(data)) // must not panic or allocate without bound
	})
}
