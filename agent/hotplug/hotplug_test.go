package hotplug

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runvm/runvm/agent/uevent"
)

// fakeSys makes a /sys with two CPUs and a memory block that are offline, and a CPU that cannot be.
func fakeSys(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for path, state := range map[string]string{
		"cpu/cpu1/online": "0\n", "cpu/cpu2/online": "0\n", "cpu/cpu0/uevent": "", "memory/memory8/online": "0\n",
	} {
		file := filepath.Join(dir, "devices/system", path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(state), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func states(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "devices/system/*/*/online"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got[filepath.Base(filepath.Dir(f))] = string(b[0])
	}
	return got
}

func TestHandle(t *testing.T) {
	for name, test := range map[string]struct {
		event uevent.Event
		want  map[string]string
	}{
		"one":   {uevent.Event{Action: "add", Path: "/devices/system/cpu/cpu1", Subsystem: "cpu"}, map[string]string{"cpu1": "1", "cpu2": "0", "memory8": "0"}},
		"other": {uevent.Event{Action: "add", Path: "/devices/pci0", Subsystem: "pci"}, map[string]string{"cpu1": "0", "cpu2": "0", "memory8": "0"}},
		"gone":  {uevent.Event{Action: "add", Path: "/devices/system/cpu/cpu9", Subsystem: "cpu"}, map[string]string{"cpu1": "0", "cpu2": "0", "memory8": "0"}},
		"lost":  {uevent.Event{}, map[string]string{"cpu1": "1", "cpu2": "1", "memory8": "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := fakeSys(t)
			handle(dir, test.event)
			if diff := cmp.Diff(test.want, states(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
