package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/internal/atomicfile"
)

// DefaultRoot is where containers are kept when no --root is given.
const DefaultRoot = "/run/runvm"

// indexDir holds one symbolic link per container of a non-default root: its name is the id, its target the root. Its
// name is no valid container id, so it cannot collide with one.
const indexDir = ",roots"

// Store is the directory of all containers of one --root.
type Store struct {
	root   string
	chosen bool // root comes from --root
	index  string
}

// Open returns the store at root; explicit says that the caller chose it with --root. Nothing is made until Create.
func Open(root string, explicit bool) *Store {
	return &Store{root: root, chosen: explicit, index: filepath.Join(DefaultRoot, indexDir)}
}

// Dir returns the directory of a container of this store.
func (s *Store) Dir(id string) Dir { return Dir(filepath.Join(s.root, id)) }

// Create claims an id by making its directory. ErrExist: somebody has it.
func (s *Store) Create(id string) (*Container, error) {
	if err := bundle.ValidateID(id); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.root, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	dir := s.Dir(id)
	if err := os.Mkdir(string(dir), 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, ErrExist
		}
		return nil, fmt.Errorf("claim container id: %w", err)
	}
	c := &Container{dir: dir, index: s.indexLink(id)}
	if err := s.remember(id); err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	return c, nil
}

// indexLink is the path of the container's link in the index, empty for containers of the default root.
func (s *Store) indexLink(id string) string {
	if s.root == DefaultRoot {
		return ""
	}
	return filepath.Join(s.index, id)
}

// remember makes an engine's container known to calls without --root (podman 4.3 calls "state" that way).
func (s *Store) remember(id string) error {
	link := s.indexLink(id)
	if link == "" {
		return nil
	}
	if err := os.MkdirAll(s.index, 0o700); err != nil {
		return fmt.Errorf("make the index of state directories: %w", err)
	}
	if err := os.Symlink(s.root, link); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("remember the container's state directory: %w", err)
	}
	return nil
}

// Load finds a container. ErrNotExist: there is none of that id.
func (s *Store) Load(id string) (*Container, error) {
	if err := bundle.ValidateID(id); err != nil {
		return nil, err
	}
	dir := s.Dir(id)
	index := s.indexLink(id)
	_, err := os.Lstat(string(dir))
	if errors.Is(err, fs.ErrNotExist) && !s.chosen {
		if root, linkErr := os.Readlink(filepath.Join(s.index, id)); linkErr == nil {
			dir, index = Dir(filepath.Join(root, id)), filepath.Join(s.index, id)
			_, err = os.Lstat(string(dir))
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("container %q: %w", id, ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("look up container %q: %w", id, err)
	}
	c := &Container{dir: dir, index: index}
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// List loads every container of the store, by name. A missing default root is an empty store. Containers that vanish
// meanwhile are left out; broken ones are reported through warn.
func (s *Store) List(warn func(id string, err error)) ([]*Container, error) {
	entries, err := os.ReadDir(s.root)
	if errors.Is(err, fs.ErrNotExist) && !s.chosen {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []*Container
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ",") {
			continue
		}
		c, err := s.Load(e.Name())
		switch {
		case err == nil:
			list = append(list, c)
		case !errors.Is(err, ErrNotExist):
			warn(e.Name(), err)
		}
	}
	return list, nil
}

// Container is one container of a store: its directory and the record last read from it.
type Container struct {
	Record
	dir   Dir
	index string // link in the index, or empty
}

// Dir returns the container's directory.
func (c *Container) Dir() Dir { return c.dir }

// read loads the record. A directory without one is what a create that was killed at its very first step left behind:
// it reads as a stopped container so that delete can remove it.
func (c *Container) read() error {
	data, err := os.ReadFile(c.dir.Record())
	if errors.Is(err, fs.ErrNotExist) {
		c.Record = Record{ID: filepath.Base(string(c.dir))}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read container state: %w", err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("container state %s is damaged: %w", c.dir.Record(), err)
	}
	c.Record = r
	return nil
}

// Save writes the record. The caller holds the lock or is the container's creator.
func (c *Container) Save() error {
	data, err := json.Marshal(&c.Record)
	if err != nil {
		return fmt.Errorf("encode container state: %w", err)
	}
	if err := atomicfile.WriteFile(c.dir.Record(), data, 0o600); err != nil {
		return fmt.Errorf("save container state: %w", err)
	}
	return nil
}

// Lock waits for the container's lock, reads the record again and returns what gives the lock back. ErrNotExist: the
// container was deleted meanwhile. When ctx ends the wait does, too. The lock is on the directory itself, so that no lock file can be left behind or be
// unlinked under a waiter.
func (c *Container) Lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.Open(string(c.dir))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("container %q: %w", c.ID, ErrNotExist)
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
		return nil, fmt.Errorf("wait for another command on container %q: %w", c.ID, ctx.Err())
	}
	if err == nil {
		err = c.stillThere(f)
	}
	if err == nil {
		err = c.read()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// flock waits for an exclusive lock.
func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// stillThere checks that the locked directory is the one that the path names.
func (c *Container) stillThere(f *os.File) error {
	locked, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(string(c.dir))
	if err != nil || !os.SameFile(locked, named) {
		return fmt.Errorf("container %q: %w", c.ID, ErrNotExist)
	}
	return nil
}

// Remove deletes the container's directory: known names only, each with unlink or rmdir, so that nothing that is still
// mounted there can be emptied. Idempotent. The record goes last but one: whatever fails before can be tried again.
func (c *Container) Remove() error {
	vm := c.dir.VM()
	names := []string{
		filepath.Join(vm, shareSocket), filepath.Join(vm, shareSocket+".pid"), filepath.Join(vm, qmpSocket), vm,
		c.dir.Jail(), c.dir.Shared(),
		filepath.Join(string(c.dir), monitorSocket), filepath.Join(string(c.dir), agentSocket),
		c.dir.Record(), string(c.dir),
	}
	if c.index != "" {
		names = append(names, c.index)
	}
	// A writer of the record that was killed leaves its temporary file.
	unfinished, err := filepath.Glob(filepath.Join(string(c.dir), "."+recordFile+".*"))
	if err != nil {
		return fmt.Errorf("remove container state: %w", err)
	}
	names = append(unfinished, names...)
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove container state: %w", err)
		}
	}
	return nil
}
