package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxForeign bounds the answer of ForeignProcesses: callers need to know that there are some, and a few to name.
const maxForeign = 64

// ForeignProcesses lists, lowest first, up to 64 processes whose network namespace is the one at path, except those
// for which skip says true (nil skips none). Processes whose namespace we may not read are left out, as are zombies,
// which have none.
func ForeignProcesses(path string, skip func(pid int) bool) ([]int, error) {
	want, err := Inode(path)
	if err != nil {
		return nil, err
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	return matching(names, want, skip), nil
}

// matching filters the names of /proc, which the kernel lists by ascending PID.
func matching(names []string, want Identity, skip func(pid int) bool) []int {
	var pids []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || skip != nil && skip(pid) {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(filepath.Join("/proc", name, "ns/net"), &st) != nil || st.Dev != want.Dev || st.Ino != want.Ino {
			continue
		}
		if pids = append(pids, pid); len(pids) == maxForeign {
			break
		}
	}
	return pids
}
