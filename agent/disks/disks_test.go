package disks

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	dir := t.TempDir()
	for name, files := range map[string]map[string]string{
		"vda":   {"serial": "other\n", "dev": "254:0\n"},
		"vdb":   {"serial": "0123456789ab-1\n", "dev": "254:16\n"},
		"vdc":   {"serial": "odd\n", "dev": "not a number\n"},
		"loop0": {"dev": "7:0\n"},
	} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n, err := match(dir, "0123456789ab-1"); err != nil || n != (Number{254, 16}) {
		t.Errorf("%v, %v", n, err)
	}
	if _, err := match(dir, "0123456789ab-2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a disk that is not there: %v", err)
	}
	if _, err := match(dir, "odd"); err == nil || !strings.Contains(err.Error(), "vdc") {
		t.Errorf("a disk without a number: %v", err)
	}
}

func TestFindRefuses(t *testing.T) {
	for _, serial := range []string{"", strings.Repeat("x", 21)} {
		if _, err := Find(context.Background(), serial); err == nil {
			t.Errorf("serial %q was accepted", serial)
		}
	}
}
