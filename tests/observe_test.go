//go:build e2e

package tests

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// host is what a container could leave behind on the host.
type host struct {
	Processes []string // of runvm, QEMU and virtiofsd
	Mounts    []string // mount points
	Links     []string
	Cgroups   []string // directories
	State     []string // entries of runvm's default state directory
}

// observe looks at the host.
func observe(t *testing.T) host {
	t.Helper()
	return host{
		Processes: processes(t), Mounts: mounts(t), Links: links(t), Cgroups: cgroups(t),
		State: names("/run/runvm"),
	}
}

// assertSame fails the test if the host is not as it was. The kernel frees mounts and cgroups of a process that has just
// ended a moment later, so it looks for up to ten seconds.
func (h host) assertSame(t *testing.T) {
	t.Helper()
	var diff string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if diff = cmp.Diff(h, observe(t)); diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("something was left behind on the host (-before +after):\n%s", diff)
			return
		}
	}
}

// processes lists every process whose program is runvm, QEMU or virtiofsd, by what /proc says it executes.
func processes(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, name := range names("/proc") {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		exe, err := os.Readlink("/proc/" + name + "/exe")
		if err != nil {
			continue // ended, or a kernel thread
		}
		base := strings.TrimSuffix(filepath.Base(exe), " (deleted)")
		if base == "runvm" || strings.HasPrefix(base, "qemu-system") || base == "virtiofsd" {
			list = append(list, fmt.Sprintf("%s %s", name, base))
		}
	}
	slices.Sort(list)
	return list
}

func mounts(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		list = append(list, strings.Fields(line)[4])
	}
	slices.Sort(list)
	return list
}

func links(t *testing.T) []string {
	t.Helper()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, i := range interfaces {
		list = append(list, i.Name)
	}
	slices.Sort(list)
	return list
}

func cgroups(t *testing.T) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // a cgroup that went away meanwhile
		}
		// Engines keep their own parents (libpod_parent/conmon); only what belongs to a container counts.
		if d.IsDir() && !strings.HasSuffix(path, "/libpod_parent") && !strings.HasSuffix(path, "/conmon") {
			list = append(list, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range entries {
		if e.Name() != ",roots" {
			list = append(list, e.Name())
		}
	}
	return list
}
