// Package atomicfile replaces files so that a reader sees the old content or the new one, never a part, and so that the
// content survives a crash right after.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNotRegular says that the target exists and is a directory, symbolic link, device, socket or fifo.
var ErrNotRegular = errors.New("exists and is not a regular file")

// WriteFile makes path a file with the given content and permissions, whatever the umask. The data is on disk before
// the name points at it. The target is left alone when anything fails.
func WriteFile(path string, data []byte, perm fs.FileMode) (err error) {
	if info, statErr := os.Lstat(path); statErr == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("write %s: %w", path, ErrNotRegular)
	}
	// The leading dot and the random suffix keep the file out of listings and away from other writers.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
		}
	}()
	if err := fill(f, data, perm); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func fill(f *os.File, data []byte, perm fs.FileMode) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	return f.Sync()
}
