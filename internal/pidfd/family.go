package pidfd

import (
	"fmt"
	"os"
	"strconv"
)

// Exists says whether there is a process, perhaps a zombie, with the pid.
func Exists(pid int) bool {
	_, err := readStat(pid)
	return err == nil
}

// Descendants lists the living children of a process, their children and so on.
func Descendants(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	children := map[int][]int{}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(child); err == nil && !s.dead() {
			children[s.parent] = append(children[s.parent], child)
		}
	}
	var found []int
	for next := children[pid]; len(next) > 0; next = next[1:] {
		found = append(found, next[0])
		next = append(next, children[next[0]]...)
	}
	return found, nil
}
