package container

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runvm/runvm/internal/pidfd"
)

// makeSandbox makes one with a record.
func makeSandbox(t *testing.T, s *Store, name string) *Sandbox {
	t.Helper()
	unlock, err := s.LockSandboxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	sb := s.Sandbox(name)
	sb.SandboxRecord = SandboxRecord{ID: "pod", Members: map[string]Member{"c1": {}}}
	unlockSandbox, err := sb.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlockSandbox()
	if err := sb.Save(); err != nil {
		t.Fatal(err)
	}
	return sb
}

func TestSandboxes(t *testing.T) {
	s := newStore(t)
	if list, err := s.Sandboxes(nil); err != nil || len(list) > 0 {
		t.Errorf("an empty store has %v, %v", list, err)
	}
	want := makeSandbox(t, s, "A")
	makeSandbox(t, s, "B")
	if err := os.WriteFile(s.Sandbox("B").Dir().Record(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var warned []string
	list, err := s.Sandboxes(func(name string, _ error) { warned = append(warned, name) })
	if err != nil || len(list) != 1 || !cmp.Equal(list[0].SandboxRecord, want.SandboxRecord) || !cmp.Equal(warned, []string{"B"}) {
		t.Errorf("list %v, warned of %v, %v", list, warned, err)
	}
	// Sandboxes are no containers.
	if containers, err := s.List(func(string, error) {}); err != nil || len(containers) > 0 {
		t.Errorf("containers %v, %v", containers, err)
	}
}

// TestSandboxOf: a container finds its sandbox, whatever its record says.
func TestSandboxOf(t *testing.T) {
	s := newStore(t)
	sb := makeSandbox(t, s, "A")
	c := create(t, s, "c1")
	if c.SandboxOf() != nil {
		t.Error("a container without a sandbox has one")
	}
	c.Sandbox = "A"
	found := c.SandboxOf()
	unlock, err := found.Lock(t.Context())
	if err != nil || found.ID != "pod" || found.Dir() != sb.Dir() {
		t.Fatalf("found %+v, %v", found, err)
	}
	unlock()
	c.Sandbox = "../../c1"
	if dir := filepath.Dir(string(c.SandboxDir())); dir != filepath.Dir(string(sb.Dir())) {
		t.Errorf("a name with slashes leads to %s", c.SandboxDir())
	}
}

// TestSandboxLockOfRemoved: who waits for a sandbox that goes meanwhile learns it.
func TestSandboxLockOfRemoved(t *testing.T) {
	s := newStore(t)
	sb := makeSandbox(t, s, "A")
	unlock, err := sb.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() {
		_, err := s.Sandbox("A").Lock(t.Context())
		result <- err
	}()
	if err := sb.Remove(); err != nil {
		t.Fatal(err)
	}
	unlock()
	if err := <-result; !errors.Is(err, ErrNotExist) {
		t.Errorf("%v, want ErrNotExist", err)
	}
}

// TestSandboxRemove takes known names only: what is still mounted or unknown in the directory is never emptied.
func TestSandboxRemove(t *testing.T) {
	sb := makeSandbox(t, newStore(t), "A")
	precious := filepath.Join(sb.Dir().Shared(), "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sb.Remove(); err == nil {
		t.Error("a directory with something unknown in it was removed")
	}
	if _, err := os.Stat(sb.Dir().Record()); err != nil {
		t.Error("the record is gone, so that it cannot be tried again")
	}
	removeTwice(t, precious, sb.Remove, string(sb.Dir()))
}

func TestSandboxAlive(t *testing.T) {
	alive, err := pidfd.Find(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	dead := pidfd.Process{PID: alive.PID, StartTime: alive.StartTime + 1}
	for name, tc := range map[string]struct {
		r    SandboxRecord
		want bool
	}{
		"empty":    {SandboxRecord{}, false},
		"booting":  {SandboxRecord{Creator: alive}, true},
		"given up": {SandboxRecord{Creator: dead}, false},
		"running":  {SandboxRecord{Creator: dead, Monitor: alive}, true},
		"ended":    {SandboxRecord{Creator: alive, Monitor: dead}, false},
	} {
		if got := tc.r.Alive(); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// TestSandboxRecordIsSaved: every field of the records has a name in the file, so that none is forgotten.
func TestSandboxRecordIsSaved(t *testing.T) {
	for _, record := range []reflect.Type{reflect.TypeFor[SandboxRecord](), reflect.TypeFor[Member]()} {
		for field := range record.Fields() {
			if field.PkgPath != "" || field.Tag.Get("json") == "" {
				t.Errorf("field %s is not saved", field.Name)
			}
		}
	}
}
