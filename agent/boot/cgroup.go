package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// cgroupRoot is where libcontainer looks for the unified hierarchy.
const cgroupRoot = "/sys/fs/cgroup"

// enableControllers lets the children of a cgroup use every controller that it has. One write per controller: a
// controller that refuses (cpu, while real-time tasks run) must not take the others with it.
func enableControllers(cgroup string) error {
	b, err := os.ReadFile(filepath.Join(cgroup, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range strings.Fields(string(b)) {
		errs = append(errs, os.WriteFile(filepath.Join(cgroup, "cgroup.subtree_control"), []byte("+"+name), 0))
	}
	return errors.Join(errs...)
}
