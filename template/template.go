// Package template keeps templates: virtual machines that were saved when their agent was ready, and that others are
// cloned from instead of booting (package sandbox makes and clones them). There is one directory for the whole host,
// since a template depends on the machine and on nothing of a container.
//
//	<dir>/lock        flock: whoever makes or removes templates
//	<dir>/<key>/      a template, put there by rename when it is complete
//	      memory, state   the saved machine
//	      failed          instead of them, or beside: why it is not to be used
//	<dir>/.new-*/     a template being made, or what a maker that was killed left
package template

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/sandbox"
)

// DirName is the directory of all templates in the default root of containers. It is no valid container id.
const DirName = ",templates"

const (
	lockName  = "lock"
	newPrefix = ".new-"
)

// ErrBusy is the error of TryMake while somebody else makes a template.
var ErrBusy = errors.New("another template is being made")

// ErrNotExist is the error of a template that is not there.
var ErrNotExist = errors.New("no such template")

// Store is the directory of all templates.
type Store struct{ dir string }

// Open returns the store in directory dir, which need not exist.
func Open(dir string) Store { return Store{dir: dir} }

// Template is one template.
type Template struct {
	Key     string
	Dir     string
	Created time.Time
	Bytes   int64  // that it takes: its memory has holes
	Failed  string // why it is not used; empty: it is
}

// Find returns the template of that key; ok is false where there is none.
func (s Store) Find(key string) (t Template, ok bool) {
	t, err := s.read(key)
	return t, err == nil
}

// List returns the templates by key.
func (s Store) List() ([]Template, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Template
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		// One that is removed right now is none.
		if t, err := s.read(e.Name()); err == nil {
			list = append(list, t)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return list, nil
}

func (s Store) read(key string) (Template, error) {
	t := Template{Key: key, Dir: filepath.Join(s.dir, key)}
	info, err := os.Lstat(t.Dir)
	if err != nil {
		return Template{}, err
	}
	if !info.IsDir() {
		return Template{}, &fs.PathError{Op: "open template", Path: t.Dir, Err: unix.ENOTDIR}
	}
	t.Created = info.ModTime()
	reason, err := os.ReadFile(filepath.Join(t.Dir, sandbox.TemplateFailed))
	if err == nil {
		t.Failed = strings.TrimSpace(string(reason))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Template{}, err
	}
	entries, err := os.ReadDir(t.Dir)
	if err != nil {
		return Template{}, err
	}
	for _, e := range entries {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(t.Dir, e.Name()), &st); err == nil {
			t.Bytes += st.Blocks * 512
		}
	}
	return t, nil
}

// Remove removes the template of that key. What was cloned from it lives on.
func (s Store) Remove(key string) error {
	if key == "" || strings.HasPrefix(key, ".") || strings.ContainsRune(key, '/') || key == lockName {
		return fmt.Errorf("template %q: %w", key, ErrNotExist)
	}
	unlock, err := s.lock(unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(filepath.Join(s.dir, key)); err != nil {
		return fmt.Errorf("template %q: %w", key, ErrNotExist)
	}
	return s.discard(key)
}

// RemoveAll removes all templates, and what makers that were killed left.
func (s Store) RemoveAll() error {
	if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := s.lock(unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("remove the templates: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if e.Name() != lockName {
			errs = append(errs, s.discard(e.Name()))
		}
	}
	return errors.Join(errs...)
}

// discard removes a directory of the store, first from its place, so that nobody finds it in part. The caller has the
// lock.
func (s Store) discard(name string) error {
	path := filepath.Join(s.dir, name)
	if !strings.HasPrefix(name, newPrefix) {
		away := filepath.Join(s.dir, newPrefix+name)
		if err := os.Rename(path, away); err != nil {
			return fmt.Errorf("remove a template: %w", err)
		}
		path = away
	}
	if err := os.RemoveAll(path); err != nil { // files only: nothing is ever mounted in it on the host
		return fmt.Errorf("remove a template: %w", err)
	}
	return nil
}

// lock takes the lock on the whole store, in the way that flock(2) is told. The lock ends with the process.
func (s Store) lock(how int) (unlock func(), err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of templates: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the templates: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(ErrBusy, f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the templates: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
