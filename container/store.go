package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/runvm/runvm/bundle"
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
		return nil, ErrNotExist
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
	err := readRecord(c.dir.Record(), "container", &c.Record)
	if errors.Is(err, fs.ErrNotExist) {
		c.Record = Record{ID: filepath.Base(string(c.dir))}
		return nil
	}
	return err
}

// Save writes the record. The caller holds the lock or is the container's creator.
func (c *Container) Save() error { return saveRecord(c.dir.Record(), "container", &c.Record) }

// SandboxDir returns the directory of the container's sandbox; it does not exist when the container has none.
func (c *Container) SandboxDir() SandboxDir {
	return sandboxDir(filepath.Dir(string(c.dir)), c.Sandbox)
}

// Remove deletes the container's directory: known names only, each with unlink or rmdir, so that nothing else can be
// lost. Idempotent. The record goes last but one: whatever fails before can be tried again.
func (c *Container) Remove() error {
	names := []string{c.dir.Record(), string(c.dir)}
	if c.index != "" {
		names = append(names, c.index)
	}
	return removeNames(string(c.dir), recordFile, names)
}
