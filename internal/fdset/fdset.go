// Package fdset keeps file descriptors that a process inherited, or lent out, from reaching the programs it starts.
package fdset

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// CloseOnExecFrom sets the close-on-exec flag of every descriptor from first on, except those in keep.
func CloseOnExecFrom(first int, keep ...int) error {
	if first < 0 {
		return fmt.Errorf("close-on-exec from descriptor %d: %w", first, unix.EBADF)
	}
	for _, r := range ranges(first, keep) {
		err := unix.CloseRange(r.first, r.last, unix.CLOSE_RANGE_CLOEXEC)
		// CLOSE_RANGE_CLOEXEC came with Linux 5.11; before, EINVAL, or ENOSYS without close_range(2).
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
			return closeOnExecEach(first, keep)
		}
		if err != nil {
			return fmt.Errorf("close-on-exec from descriptor %d: close_range: %w", first, err)
		}
	}
	return nil
}

// closedRange is a range of descriptors with both ends in it.
type closedRange struct{ first, last uint }

// ranges returns what is left of [first, max] without keep.
func ranges(first int, keep []int) []closedRange {
	var out []closedRange
	next := uint(first)
	for _, k := range slices.Sorted(slices.Values(keep)) {
		if k < 0 || uint(k) < next {
			continue
		}
		if uint(k) > next {
			out = append(out, closedRange{next, uint(k) - 1})
		}
		next = uint(k) + 1
	}
	return append(out, closedRange{next, math.MaxUint32})
}

// closeOnExecEach does the same as CloseOnExecFrom one by one, for older kernels.
func closeOnExecEach(first int, keep []int) error {
	fds, err := Open()
	if err != nil {
		return err
	}
	for _, fd := range fds {
		if fd < first || slices.Contains(keep, fd) {
			continue
		}
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
		// A descriptor that another thread closed meanwhile needs nothing.
		if err != nil && !errors.Is(err, unix.EBADF) {
			return fmt.Errorf("close-on-exec on descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// Inherited lists the open descriptors from first on that have come through an exec, in rising order: those without the
// close-on-exec flag, which Go sets on all that it opens itself, its runtime's included.
func Inherited(first int) ([]int, error) {
	fds, err := Open()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(fds, func(fd int) bool {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		return fd < first || err != nil || flags&unix.FD_CLOEXEC != 0
	}), nil
}

// Open lists the open descriptors of this process in rising order, without the one that it takes to list them.
func Open() ([]int, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("list open descriptors: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list open descriptors: %w", err)
	}
	own := int(dir.Fd())
	var fds []int
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			return nil, fmt.Errorf("list open descriptors: %w", err)
		}
		if fd != own {
			fds = append(fds, fd)
		}
	}
	slices.Sort(fds)
	return fds, nil
}
