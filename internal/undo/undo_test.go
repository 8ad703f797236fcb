package undo

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRunInReverse(t *testing.T) {
	var got []int
	var u Stack
	for i := range 3 {
		u.Push(func() error {
			got = append(got, i)
			return nil
		})
	}
	var err error
	u.Run(&err)
	u.Run(&err)
	if diff := cmp.Diff([]int{2, 1, 0}, got); diff != "" {
		t.Error(diff)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestReleaseKeeps(t *testing.T) {
	var u Stack
	u.Push(func() error {
		t.Error("a released step ran")
		return nil
	})
	u.Release()
	var err error
	u.Run(&err)
}

func TestErrorsAreJoined(t *testing.T) {
	first, second, cause := errors.New("first"), errors.New("second"), errors.New("cause")
	fail := func() (err error) {
		var u Stack
		defer u.Run(&err)
		u.Push(func() error { return first })
		u.Push(func() error { return second })
		return cause
	}
	err := fail()
	for _, want := range []error{first, second, cause} {
		if !errors.Is(err, want) {
			t.Errorf("error %v lacks %v", err, want)
		}
	}
}
