package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/runvm/runvm/internal/pidfd"
)

// sandboxesDir holds a directory per sandbox. Its name is no valid container id.
const sandboxesDir = ",sandboxes"

// SandboxRecord is what is known of a sandbox, a virtual machine with its containers, as sandbox.json holds it. Every
// field is saved.
type SandboxRecord struct {
	// ID is what the annotations of pods call the sandbox. Several may have the same: that of a restarted infra container
	// and that of the old one, in which others still run.
	ID string `json:"id"`
	// Pod says that the sandbox was made for a pod, so that its id alone lets others join.
	Pod bool `json:"pod,omitempty"`
	// Creator is the create command that boots the virtual machine, Monitor the process that then owns it.
	Creator pidfd.Process `json:"creator,omitzero"`
	Monitor pidfd.Process `json:"monitor,omitzero"`
	// VM is the size of the virtual machine, which is fixed; zero until it boots.
	VM VMSize `json:"vm,omitzero"`
	// NetNS is the path of the network namespace whose interfaces the VM has taken; empty when it came without one.
	NetNS string `json:"netns,omitempty"`
	// Network identifies that namespace.
	Network string `json:"network,omitempty"`
	// Cgroup is the host cgroup of the virtual machine's processes, if they are not in that of their only container.
	Cgroup CgroupRef `json:"cgroup,omitzero"`
	// Members are the containers that have not been deleted, by id.
	Members map[string]Member `json:"members,omitempty"`
}

// VMSize is the size of a virtual machine.
type VMSize struct {
	CPUs      int `json:"cpus"`
	MemoryMiB int `json:"memoryMiB"`
}

// Member is a container of a sandbox.
type Member struct {
	Shim pidfd.Process `json:"shim,omitzero"`
	// Namespaces identifies the shim's namespaces, by their names in /proc/PID/ns. They mean something as long as the
	// shim is alive.
	Namespaces map[string]string `json:"namespaces,omitempty"`
	// Guest names its namespaces in the guest, likewise by kind. Shims do not share PID namespaces, since the first of one
	// could not end before the parents of all others have reaped them, and have no user namespaces.
	Guest map[string]string `json:"guest,omitempty"`
}

// Alive says whether the sandbox may be joined, now or when it has booted.
func (r *SandboxRecord) Alive() bool {
	return r.Monitor.Alive() || r.Monitor == (pidfd.Process{}) && r.Creator.Alive()
}

// Sandbox is one sandbox of a store: its directory and the record last read from it.
type Sandbox struct {
	SandboxRecord
	Name string // of the directory
	dir  SandboxDir
}

func sandboxDir(root, name string) SandboxDir {
	return SandboxDir(filepath.Join(root, sandboxesDir, filepath.Base("/"+name)))
}

// Dir returns the sandbox's directory.
func (s *Sandbox) Dir() SandboxDir { return s.dir }

// Sandbox returns the sandbox of that name, which need not exist. Lock or Load reads its record.
func (s *Store) Sandbox(name string) *Sandbox {
	return &Sandbox{Name: name, dir: sandboxDir(s.root, name)}
}

// SandboxOf returns the sandbox that the container is a member of; nil if it has none.
func (c *Container) SandboxOf() *Sandbox {
	if c.Sandbox == "" {
		return nil
	}
	return &Sandbox{Name: c.Sandbox, dir: c.SandboxDir()}
}

// LockSandboxes makes the caller the only one who looks for a sandbox to join or makes one, until unlock is called.
func (s *Store) LockSandboxes(ctx context.Context) (unlock func(), err error) {
	dir := filepath.Join(s.root, sandboxesDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of sandboxes: %w", err)
	}
	f, err := lockDirectory(ctx, dir, "the sandboxes")
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// Sandboxes loads every sandbox of the store, by name. Those that vanish meanwhile are left out; broken ones are
// reported through warn.
func (s *Store) Sandboxes(warn func(name string, err error)) ([]*Sandbox, error) {
	entries, err := os.ReadDir(filepath.Join(s.root, sandboxesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	var list []*Sandbox
	for _, e := range entries {
		found := s.Sandbox(e.Name())
		switch err := found.read(); {
		case err == nil:
			list = append(list, found)
		case !errors.Is(err, fs.ErrNotExist):
			warn(e.Name(), err)
		}
	}
	return list, nil
}

// Make makes the sandbox's directories and locks it. The caller saves the record, and calls Remove if it fails later.
func (s *Sandbox) Make(ctx context.Context) (unlock func(), err error) {
	for _, d := range []string{string(s.dir), s.dir.Shared(), s.dir.Jail(), s.dir.VM()} {
		mode := os.FileMode(0o755)
		if d == string(s.dir) {
			mode = 0o700
		}
		if err := os.Mkdir(d, mode); err != nil {
			return nil, errors.Join(fmt.Errorf("make the sandbox's directories: %w", err), s.Remove())
		}
	}
	unlock, err = s.lock(ctx)
	if err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return unlock, nil
}

// Lock waits for the sandbox's lock and reads its record. ErrNotExist: it was removed, perhaps meanwhile. One that was
// never saved reads as a record without members.
func (s *Sandbox) Lock(ctx context.Context) (unlock func(), err error) {
	unlock, err = s.lock(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.read(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		unlock()
		return nil, err
	}
	return unlock, nil
}

func (s *Sandbox) lock(ctx context.Context) (unlock func(), err error) {
	f, err := lockDirectory(ctx, string(s.dir), fmt.Sprintf("sandbox %q", s.ID))
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

func (s *Sandbox) read() error { return readRecord(s.dir.Record(), "sandbox", &s.SandboxRecord) }

// Save writes the record. The caller holds the lock.
func (s *Sandbox) Save() error { return saveRecord(s.dir.Record(), "sandbox", &s.SandboxRecord) }

// Remove deletes the sandbox's directory: known names only, each with unlink or rmdir, so that nothing that is still
// mounted there can be emptied. Idempotent. The record goes last but one: whatever fails before can be tried again.
func (s *Sandbox) Remove() error {
	vm := s.dir.VM()
	return removeNames(string(s.dir), sandboxFile, []string{
		filepath.Join(vm, shareSocket), filepath.Join(vm, shareSocket+".pid"), filepath.Join(vm, qmpSocket), vm,
		s.dir.Jail(), s.dir.Shared(),
		filepath.Join(string(s.dir), monitorSocket), filepath.Join(string(s.dir), agentSocket),
		s.dir.Record(), string(s.dir),
	})
}
