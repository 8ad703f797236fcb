package template

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/runvm/runvm/sandbox"
)

func newStore(t *testing.T) Store {
	t.Helper()
	return Open(filepath.Join(t.TempDir(), DirName))
}

// fill is a build that succeeds.
func fill(dir string) error { return os.WriteFile(filepath.Join(dir, "state"), []byte("x"), 0o600) }

func keys(t *testing.T, s Store) string {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, x := range list {
		if x.Failed != "" {
			x.Key += "!"
		}
		keys = append(keys, x.Key)
	}
	return strings.Join(keys, " ")
}

func TestMake(t *testing.T) {
	s := newStore(t)
	if got := keys(t, s); got != "" {
		t.Errorf("before: %q", got)
	}
	if _, ok := s.Find("a-1"); ok {
		t.Error("found what is not there")
	}
	if err := s.Make("a-1", fill); err != nil {
		t.Fatal(err)
	}
	if x, ok := s.Find("a-1"); !ok || x.Failed != "" || x.Bytes == 0 || x.Created.IsZero() {
		t.Errorf("found %+v, %v", x, ok)
	}
	unwanted := func(string) error { return errors.New("made again") }
	if err := s.Make("a-1", unwanted); err != nil {
		t.Error(err)
	}
	// The same machine made of other files replaces it, another machine does not.
	for _, key := range []string{"b-1", "a-2"} {
		if err := s.TryMake(key, fill); err != nil {
			t.Fatal(err)
		}
	}
	if got := keys(t, s); got != "a-2 b-1" {
		t.Errorf("after: %q", got)
	}
	for _, key := range []string{"c-1", "d-1", "e-1"} {
		if err := s.Make(key, fill); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Fields(keys(t, s)); len(got) != maxOthers+1 || got[len(got)-1] != "e-1" {
		t.Errorf("after many: %q", got)
	}
	if err := s.Remove("e-1"); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"e-1", "", ".", "..", "../x", lockName, ".new-x"} {
		if err := s.Remove(key); !errors.Is(err, ErrNotExist) {
			t.Errorf("Remove(%q): %v", key, err)
		}
	}
}

// What fails is not tried again in the background, but on demand. What is interrupted has not failed.
func TestMakeFails(t *testing.T) {
	s := newStore(t)
	if err := s.TryMake("a-1", func(string) error { return context.Canceled }); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if got := keys(t, s); got != "" {
		t.Errorf("interrupted: %q", got)
	}
	broken := errors.New("broken")
	if err := s.TryMake("a-1", func(dir string) error { return errors.Join(fill(dir), broken) }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if x, ok := s.Find("a-1"); !ok || x.Failed != "broken" {
		t.Errorf("found %+v, %v", x, ok)
	}
	if err := s.TryMake("a-1", fill); err != nil || keys(t, s) != "a-1!" {
		t.Errorf("in the background: %v, %q", err, keys(t, s))
	}
	if err := s.Make("a-1", fill); err != nil || keys(t, s) != "a-1" {
		t.Errorf("on demand: %v, %q", err, keys(t, s))
	}
	if err := sandbox.MarkTemplateFailed(filepath.Join(s.dir, "a-1"), broken); err != nil || keys(t, s) != "a-1!" {
		t.Errorf("marked: %v, %q", err, keys(t, s))
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v: want the lock and the template", entries, err)
	}
}

// A template goes when the one that replaces it is complete, not when it fails.
func TestReplace(t *testing.T) {
	s := newStore(t)
	broken := errors.New("broken")
	if err := s.Make("a-1", fill); err != nil {
		t.Fatal(err)
	}
	if err := s.Make("a-2", func(string) error { return broken }); !errors.Is(err, broken) || keys(t, s) != "a-1 a-2!" {
		t.Errorf("the new one failed: %v, %q", err, keys(t, s))
	}
	if err := s.Make("a-2", fill); err != nil || keys(t, s) != "a-2" {
		t.Errorf("the new one is there: %v, %q", err, keys(t, s))
	}
}

// TestMakersMeet: one works, those that may wait wait, and what a killed one left goes.
func TestMakersMeet(t *testing.T) {
	s := newStore(t)
	if err := os.MkdirAll(filepath.Join(s.dir, newPrefix+"killed", "work"), 0o700); err != nil {
		t.Fatal(err)
	}
	inside, goOn := make(chan struct{}), make(chan struct{})
	made := 0
	build := func(dir string) error {
		made++
		close(inside)
		<-goOn
		return fill(dir)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if err := s.Make("a-1", build); err != nil {
			t.Error(err)
		}
	})
	<-inside
	if err := s.TryMake("a-1", fill); !errors.Is(err, ErrBusy) {
		t.Errorf("meanwhile: %v", err)
	}
	if _, ok := s.Find("a-1"); ok {
		t.Error("found before it was complete")
	}
	wg.Go(func() {
		if err := s.Make("a-1", build); err != nil {
			t.Error(err)
		}
	})
	close(goOn)
	wg.Wait()
	entries, err := os.ReadDir(s.dir)
	if err != nil || made != 1 || len(entries) != 2 {
		t.Errorf("made %d times; %v, %v", made, entries, err)
	}
}

func TestRemoveAll(t *testing.T) {
	s := newStore(t)
	if err := s.RemoveAll(); err != nil {
		t.Errorf("nothing: %v", err)
	}
	if err := errors.Join(s.Make("a-1", fill), s.Make("b-1", fill)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, newPrefix+"killed", "work"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveAll(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v: want the lock", entries, err)
	}
}

// What is no directory is no template, whatever it leads to, and gives way to one.
func TestNoDirectory(t *testing.T) {
	elsewhere := t.TempDir()
	for name, put := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink(elsewhere, path) },
		"file": func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if err := os.MkdirAll(s.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := put(filepath.Join(s.dir, "a-1")); err != nil {
				t.Fatal(err)
			}
			if x, ok := s.Find("a-1"); ok || keys(t, s) != "" {
				t.Errorf("found %+v, listed %q", x, keys(t, s))
			}
			if err := s.TryMake("a-1", fill); err != nil || keys(t, s) != "a-1" {
				t.Errorf("made: %v, %q", err, keys(t, s))
			}
			if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) > 0 {
				t.Errorf("where the link led: %v, %v", entries, err)
			}
		})
	}
}

func TestKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "qemu")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := func(args ...string) string {
		t.Helper()
		k, err := Key(Machine{Args: args, Files: []string{file}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	write("1")
	first := key("-m", "512")
	if key("-m", "512") != first {
		t.Error("the same machine has two keys")
	}
	if other := key("-m", "256"); other == first || sameMachine(other, first) {
		t.Errorf("other arguments: %s and %s", other, first)
	}
	if key("-m 512") == first {
		t.Error("the borders of arguments do not count")
	}
	write("22")
	if other := key("-m", "512"); other == first || !sameMachine(other, first) {
		t.Errorf("another file: %s and %s", other, first)
	}
	if _, err := Key(Machine{Files: []string{file + "x"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
}
