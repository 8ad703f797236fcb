// Package hotplug takes CPUs and memory into use that the host plugs into the running guest. The kernel leaves that to
// user space.
package hotplug

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/runvm/runvm/agent/uevent"
)

const sysfs = "/sys"

// Run brings plugged CPUs and memory blocks online until the listener is closed or fails.
func Run(l *uevent.Listener) error {
	for {
		event, err := l.Next()
		if err != nil {
			return err
		}
		handle(sysfs, event)
	}
}

// handle brings what an event is about online. Lost events mean everything may have been plugged.
func handle(sysfs string, e uevent.Event) {
	switch {
	case e == uevent.Event{}:
		onlineAll(sysfs)
	case e.Action == "add" && (e.Subsystem == "cpu" || e.Subsystem == "memory"):
		online(filepath.Join(sysfs, e.Path))
	}
}

func onlineAll(sysfs string) {
	for _, pattern := range []string{"cpu/cpu[0-9]*", "memory/memory[0-9]*"} {
		dirs, _ := filepath.Glob(filepath.Join(sysfs, "devices/system", pattern)) // fails on a bad pattern only
		for _, dir := range dirs {
			online(dir)
		}
	}
}

// online sets a device online that is not. What refuses, is gone again or cannot be offline (the first CPU) stays as it
// is: the host sees what it gets.
func online(dir string) {
	path := filepath.Join(dir, "online")
	if state, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(state)) == "0" {
		_ = os.WriteFile(path, []byte("1"), 0)
	}
}
