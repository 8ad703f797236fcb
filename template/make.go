package template

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/sandbox"
)

// maxOthers is how many templates there may be beside the one that is made, for other configurations.
const maxOthers = 3

// Make makes the template of that key, unless there is one that can be used, and removes those of the same machine
// with a QEMU, kernel or runvm that is gone, and the oldest if there are many. It waits while somebody else makes one.
// build fills an empty directory.
func (s Store) Make(key string, build func(dir string) error) error {
	return s.make(key, unix.LOCK_EX, build)
}

// TryMake is Make, but ErrBusy if somebody else makes one; and one that failed before stays failed.
func (s Store) TryMake(key string, build func(dir string) error) error {
	return s.make(key, unix.LOCK_EX|unix.LOCK_NB, build)
}

func (s Store) make(key string, how int, build func(dir string) error) error {
	unlock, err := s.lock(how)
	if err != nil {
		return err
	}
	defer unlock()
	if t, ok := s.Find(key); ok && (t.Failed == "" || how&unix.LOCK_NB != 0) {
		return nil
	}
	if err := s.clear(key); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.dir, newPrefix)
	if err != nil {
		return fmt.Errorf("make a template: %w", err)
	}
	err = build(dir)
	if errors.Is(err, context.Canceled) {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return errors.Join(err, s.fail(key, dir, err))
	}
	if err := os.Rename(dir, filepath.Join(s.dir, key)); err != nil {
		return errors.Join(fmt.Errorf("make a template: %w", err), os.RemoveAll(dir))
	}
	return s.replace(key)
}

// replace removes the templates that the new one of that key stands in for: only now that it is complete.
func (s Store) replace(key string) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Name() != key && sameMachine(e.Name(), key) {
			errs = append(errs, s.discard(e.Name()))
		}
	}
	return errors.Join(errs...)
}

// clear removes what killed makers left, what stands in the key's place, and the oldest of the others.
func (s Store) clear(key string) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) || e.Name() == key {
			errs = append(errs, s.discard(e.Name()))
		}
	}
	others, err := s.List()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	slices.SortFunc(others, func(a, b Template) int { return b.Created.Compare(a.Created) })
	for _, t := range others[min(maxOthers, len(others)):] {
		errs = append(errs, s.discard(t.Key))
	}
	return errors.Join(errs...)
}

// fail keeps the reason in the place of the template, so that it is not tried again with each container.
func (s Store) fail(key, dir string, why error) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.dir, newPrefix)
	if err != nil {
		return err
	}
	if err := sandbox.MarkTemplateFailed(dir, why); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return os.Rename(dir, filepath.Join(s.dir, key))
}
