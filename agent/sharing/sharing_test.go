package sharing

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func join(t *testing.T, n *Namespaces, names map[string]string) *Membership {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := n.Join(ctx, names)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func made(t *testing.T, m *Membership) {
	t.Helper()
	if err := m.Made(os.Getpid()); err != nil {
		t.Fatal(err)
	}
}

// TestNamespaces: the first makes a namespace, later ones join it, and with the last one it is forgotten.
func TestNamespaces(t *testing.T) {
	var n Namespaces
	a := join(t, &n, map[string]string{"ipc": "1", "uts": "2"})
	if len(a.Paths()) > 0 {
		t.Errorf("the first one joins %v", a.Paths())
	}
	made(t, a)
	b := join(t, &n, map[string]string{"ipc": "1", "uts": "3"})
	made(t, b)
	path := b.Paths()["ipc"]
	if len(b.Paths()) != 1 || path == "" {
		t.Fatalf("the second one joins %v, want the first one's ipc", b.Paths())
	}
	want, err := os.Stat("/proc/self/ns/ipc")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.Stat(path); err != nil || !os.SameFile(want, got) {
		t.Errorf("%s is not the namespace: %v", path, err)
	}
	a.Leave()
	a.Leave()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the namespace went before its last container: %v", err)
	}
	b.Leave()
	if len(n.byName) > 0 {
		t.Errorf("kept: %v", n.byName)
	}
}

// TestNamespacesWait: one that is about to be made is waited for; when that fails the waiter makes it.
func TestNamespacesWait(t *testing.T) {
	for _, fails := range []bool{false, true} {
		var n Namespaces
		a := join(t, &n, map[string]string{"ipc": "1"})
		joined := make(chan *Membership)
		go func() { joined <- join(t, &n, map[string]string{"ipc": "1"}) }()
		select {
		case <-joined:
			t.Fatal("the second one did not wait")
		case <-time.After(20 * time.Millisecond):
		}
		if fails {
			a.Leave()
		} else {
			made(t, a)
		}
		if b := <-joined; (len(b.Paths()) == 0) != fails {
			t.Errorf("fails %v: the second one joins %v", fails, b.Paths())
		}
	}
}

func TestNamespacesGiveUp(t *testing.T) {
	var n Namespaces
	join(t, &n, map[string]string{"ipc": "1"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Join(ctx, map[string]string{"ipc": "1", "a": "2"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("an unknown kind: %v", err)
	}
	if _, err := n.Join(ctx, map[string]string{"ipc": "1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	for _, name := range []string{"", strings.Repeat("x", maxName+1)} {
		if _, err := n.Join(t.Context(), map[string]string{"uts": name}); !errors.Is(err, ErrInvalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if len(n.byName) != 1 {
		t.Errorf("kept: %v", n.byName)
	}
}

func TestMemoryNames(t *testing.T) {
	m := Memory{Dir: t.TempDir()}
	for _, name := range []string{"", "..", "a/b", "A"} {
		if err := m.Take(name, 0); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
