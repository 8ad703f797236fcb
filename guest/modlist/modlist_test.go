package modlist

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const example = `{"release": "6.1.0", "groups": {"serial": ["virtio_ring.ko", "virtio.ko"], "9p": []},
	"ondemand": {"overlay": ["overlay.ko"], "nft_nat": ["nf_tables.ko", "nft_nat.ko"], "a_b": ["nf_tables.ko", "a_b.ko"]},
	"aliases": {"fs-overlay": "overlay", "nft-*-nat": "nft_nat", "pci:v[0-9]d*": "a_b", "nft-?-*": "a_b"}}`

func TestResolve(t *testing.T) {
	m, err := ReadModules(strings.NewReader(example))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"overlay":     {"overlay.ko"},
		"fs-overlay":  {"overlay.ko"},
		"fs_overlay":  {"overlay.ko"},
		"nft-nat":     {"nf_tables.ko", "nft_nat.ko"},
		"a-b":         {"nf_tables.ko", "a_b.ko"},
		"pci:v5d0001": {"nf_tables.ko", "a_b.ko"},
		"pci:vxd0001": nil,
		"nft-2-nat":   {"nf_tables.ko", "nft_nat.ko", "a_b.ko"},
		"ext4":        nil,
		"":            nil,
	} {
		if diff := cmp.Diff(want, m.Resolve(name)); diff != "" {
			t.Errorf("%q: %s", name, diff)
		}
	}
}

func TestReadModulesRefuses(t *testing.T) {
	for _, text := range []string{
		"", "[]",
		`{"groups": {"x": ["../x.ko"]}}`,
		`{"groups": {"x": ["x.so"]}}`,
		`{"ondemand": {"x": ["/x.ko"]}}`,
		`{"aliases": {"x": "y"}}`,
		`{"ondemand": {"x": ["x.ko"]}, "aliases": {"[": "x"}}`,
		`{"release": "` + strings.Repeat("x", maxSize) + `"}`,
	} {
		if _, err := ReadModules(strings.NewReader(text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.60s: error %v, want ErrInvalid", text, err)
		}
	}
}

func FuzzReadModules(f *testing.F) {
	f.Add(example, "fs-overlay")
	f.Add(`{"ondemand": {"x": ["x.ko"]}, "aliases": {"[a-]*?": "x"}}`, "[")
	f.Fuzz(func(t *testing.T, text, name string) {
		m, err := ReadModules(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, file := range m.Resolve(name) {
			if strings.Contains(file, "/") || !strings.HasSuffix(file, ".ko") {
				t.Errorf("resolved to %q", file)
			}
		}
	})
}
