// Package boot is what the agent does as PID 1 of a guest before it serves: it moves into a tmpfs root with the usual
// mounts and loads the kernel modules that the host has asked for.
//
//	kernel ──► /init ──package seal──► runvm-agent (memfd) ──Prepare──► serve
//	                                     ▲            ▲
//	     kernel: modprobe -q -- NAME ────┘            └──── libcontainer: runvm-agent init
package boot

import "fmt"

// Prepare makes the guest ready for containers. It runs once, in PID 1, from the sealed file.
func Prepare() (Config, error) {
	if err := newRoot(); err != nil {
		return Config{}, err
	}
	if err := mountTree(); err != nil {
		return Config{}, err
	}
	if err := enableControllers(cgroupRoot); err != nil {
		return Config{}, fmt.Errorf("enable the cgroup controllers: %w", err)
	}
	c, err := ReadConfig()
	if err != nil {
		return Config{}, err
	}
	m, err := readModules()
	if err != nil {
		return Config{}, err
	}
	if err := loadGroups(m, c.Modules, finitModule); err != nil {
		return Config{}, err
	}
	return c, setModprobe()
}
