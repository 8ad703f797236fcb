package namespace

import (
	"errors"
	"os"
	"slices"
	"testing"
)

func TestID(t *testing.T) {
	seen := map[string]Kind{}
	for _, kind := range Kinds() {
		id, err := IDOf(os.Getpid(), kind)
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := seen[id]; taken {
			t.Errorf("%s and %s are both %s", kind, other, id)
		}
		seen[id] = kind
		if !slices.Contains(Users(kind, id), os.Getpid()) {
			t.Errorf("this process is not in its own %s namespace", kind)
		}
		if kind.Flag() == 0 {
			t.Errorf("%s has no flag", kind)
		}
	}
	if _, err := ID("/nowhere"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no namespace: %v", err)
	}
	if users := Users(IPC, "0-0"); len(users) > 0 {
		t.Errorf("users of no namespace: %v", users)
	}
}

// TestDoNothing needs no privilege.
func TestDoNothing(t *testing.T) {
	want := errors.New("as it is")
	if err := Do(nil, func() error { return want }); !errors.Is(err, want) {
		t.Errorf("%v", err)
	}
	if err := Do(map[Kind]string{IPC: "/nowhere"}, func() error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
