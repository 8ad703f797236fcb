package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Lock waits for the container's lock, reads the record again and returns what gives the lock back. ErrNotExist: the
// container was deleted meanwhile. When ctx ends the wait does, too. The lock is on the directory itself, so that no
// lock file can be left behind or be unlinked under a waiter.
func (c *Container) Lock(ctx context.Context) (unlock func(), err error) {
	f, err := lockDirectory(ctx, string(c.dir), fmt.Sprintf("container %q", c.ID))
	if errors.Is(err, ErrNotExist) {
		return nil, ErrNotExist // in runc's words and no more
	}
	if err != nil {
		return nil, err
	}
	if err := c.read(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// lockDirectory locks a directory until the returned file is closed. ErrNotExist: the path names no directory, or
// another one than the one that was waited for. what names its owner in errors.
func lockDirectory(ctx context.Context, dir, what string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", what, ErrNotExist)
		}
		return nil, err
	}
	locked := make(chan error, 1)
	go func() { locked <- flock(f) }()
	select {
	case err = <-locked:
	case <-ctx.Done():
		// The goroutine keeps the file until the lock is free, and gives it back then.
		go func() { <-locked; _ = f.Close() }()
		return nil, fmt.Errorf("wait for another command on %s: %w", what, ctx.Err())
	}
	if err == nil && !stillThere(f, dir) {
		err = fmt.Errorf("%s: %w", what, ErrNotExist)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// flock waits for an exclusive lock.
func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// stillThere says whether the locked directory is the one that the path names.
func stillThere(f *os.File, dir string) bool {
	locked, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(dir)
	return err == nil && os.SameFile(locked, named)
}

// removeNames removes files and directories one by one, with unlink or rmdir. Those that are not there are no error.
// record is the name of the record in dir: a writer of it that was killed leaves its temporary file.
func removeNames(dir, record string, names []string) error {
	unfinished, err := filepath.Glob(filepath.Join(dir, "."+record+".*"))
	if err != nil {
		return fmt.Errorf("remove state: %w", err)
	}
	for _, name := range append(unfinished, names...) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove state: %w", err)
		}
	}
	return nil
}
