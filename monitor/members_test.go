package monitor

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/runvm/runvm/internal/unixsock"
	"github.com/runvm/runvm/sandbox"
)

// fakeGuest notes what it is asked.
type fakeGuest struct {
	mu     sync.Mutex
	calls  []string
	remove chan struct{} // RemoveContainer waits for it, if it is there
}

func (g *fakeGuest) note(call string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, call)
}

func (g *fakeGuest) seen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.calls)
}

func (g *fakeGuest) PlugDisk(context.Context, string, sandbox.Disk, *os.File) error { return nil }
func (g *fakeGuest) UnplugDisks(context.Context, string) error                      { return nil }

func (g *fakeGuest) Share(dir string, m sandbox.Mount, f *os.File) error {
	data, err := io.ReadAll(f)
	g.note("share " + dir + "/" + m.Place + " " + string(data))
	if m.Place == "bad" {
		return errors.New("no such place")
	}
	return err
}

func (g *fakeGuest) Unshare(dir string) error {
	g.note("unshare " + dir)
	return nil
}

func (g *fakeGuest) RemoveContainer(_ context.Context, id string) error {
	if g.remove != nil {
		<-g.remove
	}
	g.note("remove " + id)
	return nil
}

// newMonitor serves requests without a sandbox.
func newMonitor(t *testing.T) (*monitor, *fakeGuest, Sockets) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	g := &fakeGuest{}
	m := &monitor{
		log: log, guest: g, members: map[string]*member{}, idle: make(chan struct{}), stopped: make(chan struct{}),
	}
	s := Sockets{Directory: t.TempDir(), Monitor: "m"}
	l, err := unixsock.Listen(s.Directory, s.Monitor)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go serve(l, m.handle)
	return m, g, s
}

func mustJoin(t *testing.T, s Sockets, id string) *Hold {
	t.Helper()
	h, err := Join(t.Context(), s, id, id+".dir")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustAttach(t *testing.T, s Sockets, id string) *net.UnixConn {
	t.Helper()
	c, err := Attach(t.Context(), s, id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ended waits until the monitor wants to take the sandbox down.
func ended(t *testing.T, m *monitor) {
	t.Helper()
	select {
	case <-m.idle:
	case <-time.After(time.Minute):
		t.Fatal("the monitor goes on")
	}
}

func going(t *testing.T, m *monitor) {
	t.Helper()
	select {
	case <-m.idle:
		t.Fatal("the monitor ends")
	default:
	}
}

// closed waits until the other side has closed a connection.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("the lifeline: %v, want its end", err)
	}
}

func halfClose(t *testing.T, c *net.UnixConn) {
	t.Helper()
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// TestMembers: one that ends is removed while others live, and the last one ends the sandbox.
func TestMembers(t *testing.T) {
	m, g, s := newMonitor(t)
	a, b := mustJoin(t, s, "a"), mustJoin(t, s, "b")
	lifeA, lifeB := mustAttach(t, s, "a"), mustAttach(t, s, "b")
	for _, h := range []*Hold{a, b} {
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	halfClose(t, lifeA)
	closed(t, lifeA)
	if err := Remove(t.Context(), s, "a"); err != nil {
		t.Error(err)
	}
	if got, want := g.seen(), []string{"remove a", "unshare a.dir"}; !slices.Equal(got, want) {
		t.Errorf("the guest was asked %q, want %q", got, want)
	}
	going(t, m)
	again := mustJoin(t, s, "a")
	defer again.Close()
	halfClose(t, lifeB)
	closed(t, lifeB) // "a" has not given up
	going(t, m)
	_ = again.Close()
	ended(t, m)
	if _, err := Join(t.Context(), s, "c", "c.dir"); !errors.Is(err, ErrEnding) {
		t.Errorf("joining a sandbox that ends: %v", err)
	}
}

// TestLastLifeline stays open until the sandbox is gone.
func TestLastLifeline(t *testing.T) {
	m, g, s := newMonitor(t)
	h := mustJoin(t, s, "a")
	life := mustAttach(t, s, "a")
	_ = h.Close()
	halfClose(t, life)
	ended(t, m)
	_ = life.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := life.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the lifeline has ended before the sandbox: %v", err)
	}
	if got := g.seen(); len(got) > 0 {
		t.Errorf("a guest that ends was asked %q", got)
	}
}

// TestSameID: an id is free when the sandbox has let go of its former owner, however long the guest takes.
func TestSameID(t *testing.T) {
	_, g, s := newMonitor(t)
	g.remove = make(chan struct{})
	other := mustJoin(t, s, "other")
	defer other.Close()
	h := mustJoin(t, s, "a")
	if _, err := Join(t.Context(), s, "a", "x"); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("joining twice: %v", err)
	}
	life := mustAttach(t, s, "a")
	if _, err := Attach(t.Context(), s, "a"); err == nil || !strings.Contains(err.Error(), "attached already") {
		t.Errorf("attaching twice: %v", err)
	}
	if _, err := Attach(t.Context(), s, "nobody"); err == nil || !strings.Contains(err.Error(), "has not joined") {
		t.Errorf("attaching a stranger: %v", err)
	}
	_ = h.Close()
	_ = life.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Remove(ctx, s, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("removed while the guest has it: %v", err)
	}
	close(g.remove)
	if err := Remove(t.Context(), s, "a"); err != nil {
		t.Error(err)
	}
	again := mustJoin(t, s, "a")
	_ = again.Close()
}

// TestShare hands descriptors over, one with each mount, also with long names.
func TestShare(t *testing.T) {
	_, g, s := newMonitor(t)
	h := mustJoin(t, s, "a")
	defer h.Close()
	long := "mounts/" + strings.Repeat("x", 4000)
	for _, place := range []string{"rootfs", long, "bad"} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte("of "+place[:3]), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		err = h.Share(t.Context(), sandbox.Mount{Place: place, Source: strings.Repeat("\x01", 4000)}, f)
		_ = f.Close()
		if place == "bad" && (err == nil || err.Error() != "no such place") || place != "bad" && err != nil {
			t.Errorf("%s: %v", place, err)
		}
	}
	want := []string{"share a.dir/rootfs of roo", "share a.dir/" + long + " of mou", "share a.dir/bad of bad"}
	if got := g.seen(); !slices.Equal(got, want) {
		t.Errorf("shared %q", got)
	}
}

// TestMountWithoutDescriptor ends the hold.
func TestMountWithoutDescriptor(t *testing.T) {
	m, _, s := newMonitor(t)
	h := mustJoin(t, s, "a")
	if _, err := h.conn.Write([]byte("{}\n")); err != nil {
		t.Fatal(err)
	}
	ended(t, m)
}

func TestJoinNobody(t *testing.T) {
	if _, err := Join(t.Context(), Sockets{Directory: t.TempDir(), Monitor: "m"}, "a", "x"); !errors.Is(err, ErrEnding) {
		t.Errorf("%v, want ErrEnding", err)
	}
	if err := Remove(t.Context(), Sockets{Directory: t.TempDir(), Monitor: "m"}, "a"); err != nil {
		t.Error(err)
	}
}
