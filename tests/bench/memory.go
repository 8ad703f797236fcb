package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// pssOf adds up the proportional set size, in bytes, of every process in a cgroup and below: what the container costs,
// memory that is shared with others counted in proportion.
func pssOf(cgroup string) (int64, error) {
	var total int64
	var found int
	err := filepath.WalkDir(hierarchy()+cgroup, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return err
		}
		for pid := range strings.FieldsSeq(string(procs)) {
			rollup, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
			if errors.Is(err, fs.ErrNotExist) {
				continue // ended meanwhile
			}
			if err != nil {
				return err
			}
			pss, err := parsePSS(rollup)
			if err != nil {
				return fmt.Errorf("process %s: %w", pid, err)
			}
			total += pss
			found++
		}
		return nil
	})
	if err == nil && found == 0 {
		err = fmt.Errorf("no process in cgroup %s", cgroup)
	}
	return total, err
}

// hierarchy is where the unified hierarchy is mounted, or that of the memory controller.
func hierarchy() string {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return cgroupRoot
	}
	return filepath.Join(cgroupRoot, "memory")
}

// parsePSS takes the sum from a process's smaps_rollup (proc(5)), in bytes.
func parsePSS(rollup []byte) (int64, error) {
	for line := range bytes.Lines(rollup) {
		value, ok := strings.CutPrefix(string(line), "Pss:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("smaps_rollup: %w", err)
		}
		return kib << 10, nil
	}
	return 0, errors.New("smaps_rollup has no Pss line")
}
