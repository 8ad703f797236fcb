package sharing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Memory holds tmpfs that containers have together, each at a directory of its name below Dir.
type Memory struct {
	Dir string

	mu    sync.Mutex
	users map[string]int
}

// Take mounts the tmpfs unless another container has it already. The caller calls Give in the end.
func (m *Memory) Take(name string, size uint64) error {
	if name == "" || len(name) > maxName || strings.Trim(name, "0123456789abcdefghijklmnopqrstuvwxyz-") != "" {
		return fmt.Errorf("%w: shared memory %q", ErrInvalid, name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users[name] == 0 {
		if err := mountMemory(filepath.Join(m.Dir, name), size); err != nil {
			return fmt.Errorf("shared memory: %w", err)
		}
	}
	if m.users == nil {
		m.users = map[string]int{}
	}
	m.users[name]++
	return nil
}

func mountMemory(dir string, size uint64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	options := "mode=1777"
	if size > 0 {
		options += ",size=" + strconv.FormatUint(size, 10)
	}
	if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return errors.Join(&os.PathError{Op: "mount", Path: dir, Err: err}, os.Remove(dir))
	}
	return nil
}

// Give gives a Take back; the last one unmounts the tmpfs.
func (m *Memory) Give(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users[name]--; m.users[name] > 0 {
		return nil
	}
	delete(m.users, name)
	dir := filepath.Join(m.Dir, name)
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		return &os.PathError{Op: "unmount", Path: dir, Err: err}
	}
	return os.Remove(dir)
}
