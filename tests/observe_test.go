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
	State     []string // entries of runvm's default state directory, sandboxes included
}

// observe looks at the host.
func observe(t *testing.T) host {
	t.Helper()
	return host{
		Processes: processes(t), Mounts: mounts(t), Links: links(t), Cgroups: cgroups(t),
		State: append(names("/run/runvm"), names("/run/runvm/,sandboxes")...),
	}
}

// assertSame fails the test if the host has something that it had not. The kernel frees mounts and cgroups of a process that has just
// ended a moment later, so it looks for up to ten seconds.
func (h host) assertSame(t *testing.T) {
	t.Helper()
	var diff string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		now := observe(t)
		diff = cmp.Diff(host{}, host{
			added(h.Processes, now.Processes), added(h.Mounts, now.Mounts), added(h.Links, now.Links),
			added(h.Cgroups, now.Cgroups), added(h.State, now.State),
		})
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("something was left behind on the host (+):\n%s", diff)
			return
		}
	}
}

// added returns what is in after more often than in before.
func added(before, after []string) []string {
	count := map[string]int{}
	for _, s := range before {
		count[s]++
	}
	var list []string
	for _, s := range after {
		if count[s]--; count[s] < 0 {
			list = append(list, s)
		}
	}
	return list
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
		// "ip netns add" makes a mount of its directory the first time and keeps it.
		if point := strings.Fields(line)[4]; filepath.Base(point) != "netns" {
			list = append(list, point)
		}
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

// cgroups lists the directories in which containers' cgroups are made: those directly below the root or the tests' own
// cgroup of any controller, and podman's. Other services of the host come and go elsewhere.
func cgroups(t *testing.T) []string {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a cgroup that went away meanwhile
		}
		parent := strings.TrimPrefix(filepath.Dir(path), "/sys/fs/cgroup/")
		_, inController, below := strings.Cut(parent, "/")
		ours := below && strings.Contains(string(own), ":/"+inController+"\n") || !below && parent != "/sys/fs/cgroup"
		// Engines keep their own parents; only what belongs to a container counts.
		if ours && !strings.HasSuffix(path, "/libpod_parent") || strings.Contains(path, "/libpod-") {
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
		if !slices.Contains([]string{",roots", ",sandboxes", ",templates"}, e.Name()) {
			list = append(list, e.Name())
		}
	}
	return list
}
