package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runvm/runvm/internal/pidfd"
)

// newStore returns a store as a caller with --root sees it, with an index of its own.
func newStore(t *testing.T) *Store {
	t.Helper()
	s := Open(filepath.Join(t.TempDir(), "root"), true)
	s.index = filepath.Join(t.TempDir(), "index")
	return s
}

func create(t *testing.T, s *Store, id string) *Container {
	t.Helper()
	c, err := s.Create(id)
	if err != nil {
		t.Fatal(err)
	}
	c.Record = Record{ID: id, Bundle: "/b", Annotations: map[string]string{"k": "v"}}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClaim(t *testing.T) {
	s := newStore(t)
	create(t, s, "c1")
	if _, err := s.Create("c1"); !errors.Is(err, ErrExist) {
		t.Errorf("second claim: %v, want ErrExist", err)
	}
	for _, id := range []string{"", "..", "a/b", "a b"} {
		if _, err := s.Create(id); err == nil {
			t.Errorf("id %q was accepted", id)
		}
	}
}

// TestClaimOnce: of many claims at once exactly one wins.
func TestClaimOnce(t *testing.T) {
	s := newStore(t)
	var won, lost int
	var mu sync.Mutex
	var claims sync.WaitGroup
	for range 20 {
		claims.Go(func() {
			_, err := s.Create("c1")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if errors.Is(err, ErrExist) {
				lost++
			}
		})
	}
	claims.Wait()
	if won != 1 || lost != 19 {
		t.Errorf("%d won, %d lost", won, lost)
	}
}

func TestLoadAndList(t *testing.T) {
	s := newStore(t)
	want := create(t, s, "c1")
	create(t, s, "c2")
	got, err := s.Load("c1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Record, got.Record); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Load("nobody"); !errors.Is(err, ErrNotExist) {
		t.Errorf("unknown id: %v, want ErrNotExist", err)
	}
	if err := os.WriteFile(s.Dir("c2").Record(), []byte("{ damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	var warned []string
	list, err := s.List(func(id string, _ error) { warned = append(warned, id) })
	if err != nil || len(list) != 1 || list[0].ID != "c1" || !cmp.Equal(warned, []string{"c2"}) {
		t.Errorf("list %v, warned of %v, %v", list, warned, err)
	}
}

// TestFoundByIndex: a caller who names no root finds what was made with another one, until it is removed.
func TestFoundByIndex(t *testing.T) {
	s := newStore(t)
	c := create(t, s, "c1")
	other := Open(filepath.Join(t.TempDir(), "default"), false)
	other.index = s.index
	if got, err := other.Load("c1"); err != nil || got.Dir() != c.Dir() {
		t.Errorf("found %v, %v", got, err)
	}
	other.chosen = true
	if _, err := other.Load("c1"); !errors.Is(err, ErrNotExist) {
		t.Errorf("a chosen root must be the only one: %v", err)
	}
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(s.index); len(entries) > 0 {
		t.Errorf("the index keeps %v", entries)
	}
}

// TestRemove takes known names only: what is unknown in the directory is never emptied.
func TestRemove(t *testing.T) {
	s := newStore(t)
	c := create(t, s, "c1")
	precious := filepath.Join(string(c.dir), "precious")
	unfinished := filepath.Join(string(c.dir), ".state.json.123")
	for _, f := range []string{precious, unfinished} {
		if err := os.WriteFile(f, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Remove(); err == nil {
		t.Error("a directory with something unknown in it was removed")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Fatal("the unknown file is gone")
	}
	removeTwice(t, precious, c.Remove, string(c.dir))
}

func removeTwice(t *testing.T, precious string, remove func() error, dir string) {
	t.Helper()
	if err := os.Remove(precious); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := remove(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

// TestLock: one at a time, each seeing what the one before wrote.
func TestLock(t *testing.T) {
	s := newStore(t)
	create(t, s, "c1")
	var writers sync.WaitGroup
	for i := range 20 {
		writers.Go(func() {
			c, err := s.Load("c1")
			if err != nil {
				t.Error(err)
				return
			}
			unlock, err := c.Lock(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			c.Annotations[fmt.Sprint(i)] = "here"
			if err := c.Save(); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	c, err := s.Load("c1")
	if err != nil || len(c.Annotations) != 21 {
		t.Errorf("%d annotations, want 21 (%v)", len(c.Annotations), err)
	}
}

// TestLockOfDeleted: who waited for a container that was deleted meanwhile, even if its id was taken anew, learns it.
func TestLockOfDeleted(t *testing.T) {
	s := newStore(t)
	c := create(t, s, "c1")
	stale, err := s.Load("c1")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := stale.Lock(t.Context()); !errors.Is(err, ErrNotExist) {
		t.Errorf("%v, want ErrNotExist", err)
	}
}

func TestStatus(t *testing.T) {
	alive, err := pidfd.Find(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	recycled := pidfd.Process{PID: alive.PID, StartTime: alive.StartTime + 1}
	for name, tc := range map[string]struct {
		r    Record
		want Status
	}{
		"empty":              {Record{}, Stopped},
		"creating":           {Record{Creator: alive}, Creating},
		"creator was killed": {Record{Creator: recycled, Shim: alive}, Stopped},
		"created":            {Record{Ready: true, Shim: alive}, Created},
		"running":            {Record{Ready: true, Shim: alive, Started: true}, Running},
		"paused":             {Record{Ready: true, Shim: alive, Started: true, Frozen: true}, Paused},
		"recycled pid":       {Record{Ready: true, Shim: recycled, Started: true}, Stopped},
	} {
		if got := tc.r.Status(); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestRecordIsSaved: every field of the record has a name in the file, so that none is forgotten.
func TestRecordIsSaved(t *testing.T) {
	for field := range reflect.TypeFor[Record]().Fields() {
		if field.PkgPath != "" || field.Tag.Get("json") == "" {
			t.Errorf("field %s is not saved", field.Name)
		}
	}
}
