// Package pod decides which virtual machine a container goes into, and keeps the book of a sandbox's containers: who
// joins, who leaves, and what goes with the last one.
package pod

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/cgroup"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/internal/namespace"
	"github.com/runvm/runvm/internal/pidfd"
	"github.com/runvm/runvm/monitor"
)

// Request says what a new container asks for.
type Request struct {
	ID   string
	Kind bundle.Kind // by its annotations, with Ref
	Ref  string      // id of the pod's sandbox
	Pod  bool        // others may join by that id, or by its own

	NetNS   string // path of the network namespace that it shall have; empty for a new one
	Network string // identifies that namespace

	// Join are the further namespaces that it shares with others, by path.
	Join map[namespace.Kind]string

	ShareDir string              // its directory in the sandbox's share
	Cgroup   container.CgroupRef // its own host cgroup
	Creator  pidfd.Process

	// Claim is called before a place is taken: it saves the sandbox's name in the container's record, so that whatever
	// happens delete finds the place.
	Claim func(sandbox string) error
	// CheckNetwork says whether a new virtual machine may take the interfaces of NetNS.
	CheckNetwork func() error
}

// Place is a container's place in a sandbox.
type Place struct {
	Sandbox *container.Sandbox
	// New says that the caller boots the sandbox. It has the sandbox to itself until Unlock.
	New bool
	// Guest names the namespaces in the guest that the container shares with others and that shims do not share.
	Guest map[namespace.Kind]string
	// Hold keeps a running sandbox alive for the container, until the caller closes it.
	Hold *monitor.Hold

	id     string
	unlock func()
}

// attempts bounds how often Find starts anew because a sandbox ended under its hands.
const attempts = 5

// Find finds the container's sandbox, or makes the record of a new one, and takes a place in it. The caller boots a new
// one, and calls Leave if it fails later.
func Find(ctx context.Context, store *container.Store, r Request) (*Place, error) {
	for range attempts {
		p, busy, err := try(ctx, store, r)
		if p != nil || err != nil {
			return p, err
		}
		if err := waitFor(ctx, busy); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("container %s: the sandbox that it belongs to ended %d times while it was joining", r.ID, attempts)
}

// try returns neither a place nor an error when processes of a sandbox that ends are in the way.
func try(ctx context.Context, store *container.Store, r Request) (*Place, []pidfd.Process, error) {
	unlock, err := store.LockSandboxes(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { unlock() }()
	all, err := store.Sandboxes(func(string, error) {})
	if err != nil {
		return nil, nil, err
	}
	found := choose(all, r)
	guest, err := checkJoins(all, found, r)
	if err != nil {
		return nil, nil, err
	}
	if found == nil {
		if busy := remains(all, r); len(busy) > 0 {
			return nil, busy, nil
		}
		p, err := create(ctx, store, r)
		if p != nil {
			p.Guest = guest
		}
		return p, nil, err
	}
	unlock() // the sandbox may be booting
	unlock = func() {}
	p, busy, err := join(ctx, found, r)
	if p != nil {
		p.Guest = guest
	}
	return p, busy, err
}

// choose returns the sandbox to join, nil for none. Who has a sandbox's network is in its virtual machine; beyond that a
// pod's member without a network of its own goes where its annotations say, if a pod is there: whoever writes a
// container's annotations must not choose the virtual machine of a stranger's container.
func choose(all []*container.Sandbox, r Request) *container.Sandbox {
	for _, s := range all {
		if r.Network != "" && s.Alive() && (s.Network == r.Network || owner(s, namespace.Net, r.Network) != "") {
			return s
		}
	}
	for _, s := range all {
		if r.Network == "" && r.Kind == bundle.PodMember && r.Ref != "" && s.Pod && s.Alive() && s.ID == r.Ref {
			return s
		}
	}
	return nil
}

// remains returns the processes that former sandboxes still have in the network namespace.
func remains(all []*container.Sandbox, r Request) []pidfd.Process {
	var busy []pidfd.Process
	for _, s := range all {
		if r.Network == "" || s.Network != r.Network || s.Alive() {
			continue
		}
		for _, m := range s.Members {
			if m.Shim.Alive() {
				busy = append(busy, m.Shim)
			}
		}
	}
	return busy
}

func waitFor(ctx context.Context, busy []pidfd.Process) error {
	ctx, cancel := context.WithTimeout(ctx, 2*monitor.StopTimeout)
	defer cancel()
	for _, p := range busy {
		if err := p.Wait(ctx); err != nil {
			return fmt.Errorf("wait for the end of a former sandbox: %w", err)
		}
	}
	return nil
}

// create makes the record of a new sandbox and stays its only user.
func create(ctx context.Context, store *container.Store, r Request) (*Place, error) {
	if err := r.CheckNetwork(); err != nil {
		return nil, err
	}
	s := store.Sandbox(rand.Text())
	s.SandboxRecord = container.SandboxRecord{
		ID: r.ID, Pod: r.Pod, Creator: r.Creator, NetNS: r.NetNS, Network: r.Network,
		Cgroup: container.CgroupRef{
			Path: cgroup.Sibling(r.Cgroup.Path, r.Cgroup.Systemd, s.Name), Systemd: r.Cgroup.Systemd,
		},
		Members: map[string]container.Member{r.ID: {}},
	}
	if r.Kind == bundle.PodMember && r.Ref != "" {
		s.ID = r.Ref
	}
	if err := r.Claim(s.Name); err != nil {
		return nil, err
	}
	unlock, err := s.Make(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Save(); err != nil {
		unlock()
		return nil, errors.Join(err, s.Remove())
	}
	return &Place{Sandbox: s, New: true, id: r.ID, unlock: unlock}, nil
}

// join takes a place in a sandbox once it has booted.
func join(ctx context.Context, s *container.Sandbox, r Request) (*Place, []pidfd.Process, error) {
	unlock, err := s.Lock(ctx)
	if errors.Is(err, container.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	if !s.Monitor.Alive() {
		return nil, nil, nil
	}
	hold, err := monitor.Join(ctx, monitor.At(s.Dir()), r.ID, r.ShareDir)
	if errors.Is(err, monitor.ErrEnding) {
		return nil, []pidfd.Process{s.Monitor}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if err := enter(s, r); err != nil {
		return nil, nil, errors.Join(err, hold.Close())
	}
	return &Place{Sandbox: s, Hold: hold, id: r.ID}, nil, nil
}

// enter writes the container into the sandbox's book.
func enter(s *container.Sandbox, r Request) error {
	if err := separate(s); err != nil {
		return err
	}
	if err := r.Claim(s.Name); err != nil {
		return err
	}
	s.Members[r.ID] = container.Member{}
	return s.Save()
}

// Update changes the sandbox's record.
func (p *Place) Update(ctx context.Context, change func(*container.SandboxRecord)) error {
	if p.unlock == nil {
		unlock, err := p.Sandbox.Lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	change(&p.Sandbox.SandboxRecord)
	return p.Sandbox.Save()
}

// Unlock lets others join a new sandbox.
func (p *Place) Unlock() {
	if p.unlock != nil {
		p.unlock()
		p.unlock = nil
	}
}

// leaveTimeout bounds what undoing a Find may take.
const leaveTimeout = time.Minute

// Leave takes the place back, with the sandbox if it was the last one. The container's processes have ended.
func (p *Place) Leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	var err error
	if p.Hold != nil {
		err = p.Hold.Close()
	}
	if p.unlock == nil {
		return errors.Join(err, Leave(ctx, p.Sandbox, p.id))
	}
	defer p.Unlock()
	return errors.Join(err, leave(ctx, p.Sandbox, p.id))
}
