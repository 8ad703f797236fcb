package fdset

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// first is beyond what the test program itself has open.
const first = 100

// inherited opens descriptors at first and above that programs started from here would inherit.
func inherited(t *testing.T) []int {
	t.Helper()
	var fds []int
	for i := range 5 {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD, first+10*i)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		fds = append(fds, fd)
	}
	return fds
}

func survivors(t *testing.T, fds []int) []int {
	t.Helper()
	var out []int
	for _, fd := range fds {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil {
			t.Fatal(err)
		}
		if flags&unix.FD_CLOEXEC == 0 {
			out = append(out, fd)
		}
	}
	return out
}

func TestCloseOnExecFrom(t *testing.T) {
	methods := map[string]func(int, ...int) error{
		"range": CloseOnExecFrom,
		"each":  func(first int, keep ...int) error { return closeOnExecEach(first, keep) },
	}
	for name, closeFrom := range methods {
		t.Run(name, func(t *testing.T) {
			fds := inherited(t)
			if err := closeFrom(fds[1], fds[3], fds[2], 1); err != nil {
				t.Fatal(err)
			}
			want := []int{fds[0], fds[2], fds[3]}
			if diff := cmp.Diff(want, survivors(t, fds)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if err := CloseOnExecFrom(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("CloseOnExecFrom(-1) = %v, want EBADF", err)
	}
}

func TestRanges(t *testing.T) {
	for _, c := range []struct {
		first int
		keep  []int
		want  []closedRange
	}{
		{3, nil, []closedRange{{3, math.MaxUint32}}},
		{3, []int{3}, []closedRange{{4, math.MaxUint32}}},
		{3, []int{-1, 0, 2}, []closedRange{{3, math.MaxUint32}}},
		{3, []int{7, 5, 5, 6}, []closedRange{{3, 4}, {8, math.MaxUint32}}},
		{0, []int{0, 2}, []closedRange{{1, 1}, {3, math.MaxUint32}}},
	} {
		got := ranges(c.first, c.keep)
		if !slices.Equal(got, c.want) {
			t.Errorf("ranges(%d, %v) = %v, want %v", c.first, c.keep, got, c.want)
		}
	}
}

func TestOpen(t *testing.T) {
	fds := inherited(t)
	got, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(got) {
		t.Errorf("not in order: %v", got)
	}
	for _, fd := range append(fds, 0, 1, 2) {
		if !slices.Contains(got, fd) {
			t.Errorf("descriptor %d is missing in %v", fd, got)
		}
	}
}

func TestInheritedOnly(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) }()
	if _, err := unix.FcntlInt(uintptr(fds[1]), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	got, err := Inherited(3)
	if err != nil || slices.Contains(got, fds[0]) || !slices.Contains(got, fds[1]) || slices.Contains(got, 2) {
		t.Errorf("%v, %v; want %d and not %d", got, err, fds[1], fds[0])
	}
}
