package vmm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The copy has the bytes of the original and does not fill its holes.
func TestCopySparse(t *testing.T) {
	const size = 8 << 20
	page := bytes.Repeat([]byte("x"), 4096)
	for name, offsets := range map[string][]int64{
		"empty": nil, "start": {0}, "end": {size - 4096}, "several": {4096, 1 << 20, 1<<20 + 4096, 5 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			from, to := create(t, filepath.Join(dir, "from")), create(t, filepath.Join(dir, "to"))
			if err := from.Truncate(size); err != nil {
				t.Fatal(err)
			}
			for _, at := range offsets {
				if _, err := from.WriteAt(page, at); err != nil {
					t.Fatal(err)
				}
			}
			if err := copySparse(to, from, size); err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(from.Name())
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(to.Name())
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("the copy differs, err %v", err)
			}
			var st unix.Stat_t
			if err := unix.Fstat(int(to.Fd()), &st); err != nil {
				t.Fatal(err)
			}
			if limit := int64(len(offsets)+1) * 64 << 10; st.Blocks*512 > limit {
				t.Errorf("the copy takes %d bytes, want at most %d", st.Blocks*512, limit)
			}
		})
	}
}

func TestCopySparseOfShortFile(t *testing.T) {
	dir := t.TempDir()
	from, to := create(t, filepath.Join(dir, "from")), create(t, filepath.Join(dir, "to"))
	if _, err := from.WriteString("short"); err != nil {
		t.Fatal(err)
	}
	if err := copyRange(to, from, 0, 100); err == nil {
		t.Error("no error for a file that is shorter than it was")
	}
}

func create(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
