package pod

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/internal/namespace"
	"github.com/runvm/runvm/internal/pidfd"
)

func self(t *testing.T) pidfd.Process {
	t.Helper()
	p, err := pidfd.Find(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func dead(t *testing.T) pidfd.Process {
	p := self(t)
	p.StartTime++
	return p
}

func newSandbox(t *testing.T, name, id, network string, monitor pidfd.Process, members map[string]container.Member) *container.Sandbox {
	t.Helper()
	return &container.Sandbox{Name: name, SandboxRecord: container.SandboxRecord{
		ID: id, Pod: id != "other", Network: network, Monitor: monitor, Members: members,
	}}
}

// TestChoose is the table of who joins whom.
func TestChoose(t *testing.T) {
	isolated := map[string]container.Member{
		"own":   {Shim: self(t), Namespaces: map[string]string{"net": "4-7"}},
		"ended": {Shim: dead(t), Namespaces: map[string]string{"net": "4-8"}},
	}
	all := []*container.Sandbox{
		newSandbox(t, "ended", "pod", "4-1", dead(t), nil),
		newSandbox(t, "A", "pod", "4-1", self(t), isolated),
		newSandbox(t, "B", "other", "4-2", self(t), nil),
	}
	for name, tc := range map[string]struct {
		r    Request
		want string
	}{
		"plain":                                   {Request{Kind: bundle.OwnVM}, ""},
		"plain with a network":                    {Request{Kind: bundle.OwnVM, Network: "4-9"}, ""},
		"network of a sandbox":                    {Request{Kind: bundle.OwnVM, Network: "4-2"}, "B"},
		"network of a member":                     {Request{Kind: bundle.OwnVM, Network: "4-7"}, "A"},
		"network of a member that ended":          {Request{Kind: bundle.OwnVM, Network: "4-8"}, ""},
		"pod":                                     {Request{Kind: bundle.PodSandbox, Ref: "pod"}, ""},
		"member":                                  {Request{Kind: bundle.PodMember, Ref: "pod", Network: "4-1"}, "A"},
		"member without a network":                {Request{Kind: bundle.PodMember, Ref: "pod"}, "A"},
		"member with another network":             {Request{Kind: bundle.PodMember, Ref: "pod", Network: "4-9"}, ""},
		"member of a container that is no pod":    {Request{Kind: bundle.PodMember, Ref: "other"}, ""},
		"member of an unknown pod":                {Request{Kind: bundle.PodMember, Ref: "nobody"}, ""},
		"member of an unknown pod by its network": {Request{Kind: bundle.PodMember, Ref: "podman's", Network: "4-2"}, "B"},
		"member of no named pod":                  {Request{Kind: bundle.PodMember}, ""},
	} {
		got := ""
		if s := choose(all, tc.r); s != nil {
			got = s.Name
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestCheckJoins(t *testing.T) {
	ipc := namespace.PathOf(os.Getpid(), namespace.IPC)
	id, err := namespace.ID(ipc)
	if err != nil {
		t.Fatal(err)
	}
	m := container.Member{Shim: self(t), Namespaces: map[string]string{"ipc": id}}
	a := newSandbox(t, "A", "A", "4-1", self(t), map[string]container.Member{"m": m})
	b := newSandbox(t, "B", "B", "4-2", self(t), nil)
	join := Request{Join: map[namespace.Kind]string{namespace.IPC: ipc}}
	if _, err := checkJoins([]*container.Sandbox{b, a}, a, join); err != nil {
		t.Errorf("the own sandbox's: %v", err)
	}
	for name, found := range map[string]*container.Sandbox{"another": b, "a new": nil} {
		_, err := checkJoins([]*container.Sandbox{a, b}, found, join)
		if err == nil || !strings.Contains(err.Error(), "belongs to container m") {
			t.Errorf("from %s sandbox: %v", name, err)
		}
	}
	if _, err := checkJoins(nil, nil, join); err == nil || !strings.Contains(err.Error(), "is in use by process") {
		t.Errorf("a stranger's: %v", err)
	}
	join.Join[namespace.IPC] = "/nowhere"
	if _, err := checkJoins(nil, nil, join); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no namespace: %v", err)
	}
}

// TestCheckJoinsGuest: who shares a container's PID or user namespace is in the one that this container shares itself.
func TestCheckJoinsGuest(t *testing.T) {
	path := namespace.PathOf(os.Getpid(), namespace.PID)
	id, err := namespace.ID(path)
	if err != nil {
		t.Fatal(err)
	}
	m := container.Member{
		Shim: self(t), Namespaces: map[string]string{"pid": id}, Guest: map[string]string{"pid": "4-5", "user": "u"},
	}
	a := newSandbox(t, "A", "A", "4-1", self(t), map[string]container.Member{"m": m})
	join := map[namespace.Kind]string{namespace.PID: path, namespace.User: namespace.PathOf(os.Getpid(), namespace.User)}
	guest, err := checkJoins([]*container.Sandbox{a}, a, Request{Join: join})
	if err != nil || len(guest) != 2 || guest[namespace.PID] != "4-5" || guest[namespace.User] != "u" {
		t.Errorf("%v, %v, want the first one's", guest, err)
	}
	if _, err := checkJoins(nil, nil, Request{Join: join}); err == nil || !strings.Contains(err.Error(), "is in use by process") {
		t.Errorf("nobody's: %v", err)
	}
}

// TestStranger: a process of this program is none, any other is.
func TestStranger(t *testing.T) {
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	id, err := namespace.IDOf(other.Process.Pid, namespace.IPC)
	if err != nil {
		t.Fatal(err)
	}
	if pid := stranger(namespace.IPC, id); pid == 0 || pid == os.Getpid() {
		t.Errorf("found %d among others of this namespace", pid)
	}
	if pid := stranger(namespace.IPC, "0-0"); pid != 0 {
		t.Errorf("found %d in no namespace", pid)
	}
}

// TestFindMakesOne: of two members of an unknown pod the second finds what the first has made, and waits until it may
// look at it.
func TestFindMakesOne(t *testing.T) {
	store := container.Open(filepath.Join(t.TempDir(), "root"), true)
	var claims sync.Map
	find := func(ctx context.Context, id string) (*Place, error) {
		return Find(ctx, store, Request{
			ID: id, Kind: bundle.PodMember, Ref: "pod", Creator: self(t),
			Claim:        func(name string) error { claims.Store(id, name); return nil },
			CheckNetwork: func() error { return nil },
		})
	}
	first, err := find(t.Context(), "c1")
	if err != nil || !first.New || first.Sandbox.ID != "pod" {
		t.Fatalf("%+v, %v", first, err)
	}
	if name, _ := claims.Load("c1"); name != first.Sandbox.Name {
		t.Errorf("claimed %v, made %s", name, first.Sandbox.Name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := find(ctx, "c2")
		result <- err
	}()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("the second one did not wait: %v", err)
	}
	if err := first.Leave(); err != nil {
		t.Fatal(err)
	}
	if list, err := store.Sandboxes(nil); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	if err := Leave(t.Context(), first.Sandbox, "c1"); err != nil {
		t.Errorf("leaving twice: %v", err)
	}
}

// TestFindRefusal: what may not be taken leaves nothing.
func TestFindRefusal(t *testing.T) {
	store := container.Open(filepath.Join(t.TempDir(), "root"), true)
	refused := errors.New("refused")
	for name, r := range map[string]Request{
		"network": {CheckNetwork: func() error { return refused }},
		"claim":   {CheckNetwork: func() error { return nil }, Claim: func(string) error { return refused }},
	} {
		r.ID, r.Creator = "c1", self(t)
		if _, err := Find(t.Context(), store, r); !errors.Is(err, refused) {
			t.Errorf("%s: %v", name, err)
		}
		if list, err := store.Sandboxes(nil); err != nil || len(list) > 0 {
			t.Errorf("%s: left: %v, %v", name, list, err)
		}
	}
}

// TestLeaveOthers: the last one takes the sandbox with it, nobody else.
func TestLeaveOthers(t *testing.T) {
	store := container.Open(filepath.Join(t.TempDir(), "root"), true)
	p, err := Find(t.Context(), store, Request{
		ID: "c1", Creator: self(t), Claim: func(string) error { return nil }, CheckNetwork: func() error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Update(t.Context(), func(r *container.SandboxRecord) { r.Members["c2"] = container.Member{} })
	if err != nil {
		t.Fatal(err)
	}
	p.Unlock()
	if err := p.Leave(); err != nil {
		t.Fatal(err)
	}
	left := store.Sandbox(p.Sandbox.Name)
	unlock, err := left.Lock(t.Context())
	if err != nil || len(left.Members) != 1 {
		t.Fatalf("members %v, %v", left.Members, err)
	}
	unlock()
	if err := Leave(t.Context(), left, "c2"); err != nil {
		t.Fatal(err)
	}
	if _, err := left.Lock(t.Context()); !errors.Is(err, container.ErrNotExist) {
		t.Errorf("%v, want ErrNotExist", err)
	}
}
