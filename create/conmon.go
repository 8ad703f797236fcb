package create

import (
	"fmt"
	"os"
	"strings"
)

// oomDir is the directory in which conmon's callers, podman and CRI-O, look for the file "oom": the bundle. conmon makes
// it, but in its working directory, which that of Debian 12 has from podman's caller: so the shim makes it, too. Without
// conmon nobody looks for it, and the bundle stays as it is.
func oomDir(bundle string) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", os.Getppid()))
	if err != nil || strings.TrimSpace(string(name)) != "conmon" {
		return ""
	}
	return bundle
}
