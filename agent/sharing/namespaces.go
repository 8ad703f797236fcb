// Package sharing keeps what several containers of a guest have together, as the containers of a pod do: namespaces and
// shared memory, by names that the host gives them. Each is there from its first container to its last.
package sharing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
)

// ErrInvalid says that a request names something impossible.
var ErrInvalid = errors.New("invalid request")

// maxName bounds a name, in bytes.
const maxName = 64

// Namespaces holds the namespaces of containers. The zero value is empty.
type Namespaces struct {
	mu     sync.Mutex
	byName map[key]*entry
}

type key struct{ kind, name string }

// entry is a namespace, or one that a container is about to make: then file is nil.
type entry struct {
	users int
	file  *os.File
	made  chan struct{} // closed when file is there, or its maker has failed and the entry is gone
}

// Membership is what one container has of Namespaces.
type Membership struct {
	of    *Namespaces
	uses  []key
	makes []key
	paths map[string]string
}

// Join enters a container that has the given namespaces, kind to name. Kinds are names of files in /proc/PID/ns. It
// waits, at most until ctx ends, for a namespace that another container is about to make. The caller starts the
// container and then calls Made; in the end, or if it fails, Leave.
func (n *Namespaces) Join(ctx context.Context, names map[string]string) (*Membership, error) {
	m := &Membership{of: n, paths: map[string]string{}}
	// Always in the same order, so that no two wait for each other.
	for _, kind := range slices.Sorted(maps.Keys(names)) {
		k := key{kind, names[kind]}
		if err := check(k); err != nil {
			m.Leave()
			return nil, err
		}
		if err := m.enter(ctx, k); err != nil {
			m.Leave()
			return nil, fmt.Errorf("wait for the %s namespace of another container: %w", kind, err)
		}
	}
	return m, nil
}

func check(k key) error {
	if !slices.Contains([]string{"ipc", "net", "pid", "user", "uts"}, k.kind) || k.name == "" || len(k.name) > maxName {
		return fmt.Errorf("%w: namespace %q of kind %q", ErrInvalid, k.name, k.kind)
	}
	return nil
}

func (m *Membership) enter(ctx context.Context, k key) error {
	for {
		wait := m.tryEnter(k)
		if wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryEnter returns what to wait for, or nil when it is done.
func (m *Membership) tryEnter(k key) <-chan struct{} {
	n := m.of
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.byName[k]
	switch {
	case e == nil:
		if n.byName == nil {
			n.byName = map[key]*entry{}
		}
		n.byName[k] = &entry{users: 1, made: make(chan struct{})}
		m.makes = append(m.makes, k)
	case e.file == nil:
		return e.made
	default:
		e.users++
		m.uses = append(m.uses, k)
		// Not "self": the path is opened by another process.
		m.paths[k.kind] = "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(e.file.Fd()))
	}
	return nil
}

// Paths are the namespaces to join, kind to path. The container makes the others for itself.
func (m *Membership) Paths() map[string]string { return m.paths }

// Made takes the namespaces that the container has made from its first process.
func (m *Membership) Made(pid int) error {
	for len(m.makes) > 0 {
		k := m.makes[0]
		f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/" + k.kind)
		if err != nil {
			return fmt.Errorf("keep the %s namespace: %w", k.kind, err)
		}
		m.of.mu.Lock()
		e := m.of.byName[k]
		e.file = f
		close(e.made)
		m.of.mu.Unlock()
		m.makes, m.uses = m.makes[1:], append(m.uses, k)
	}
	return nil
}

// Leave gives the container's part back. Idempotent.
func (m *Membership) Leave() {
	n := m.of
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range m.makes {
		close(n.byName[k].made)
		delete(n.byName, k)
	}
	for _, k := range m.uses {
		e := n.byName[k]
		if e.users--; e.users == 0 {
			_ = e.file.Close()
			delete(n.byName, k)
		}
	}
	m.makes, m.uses = nil, nil
}
