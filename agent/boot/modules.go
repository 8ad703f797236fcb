package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/guest/modlist"
)

const (
	moduleDir  = "/lib/modules"
	moduleList = moduleDir + "/modules.json"
)

// loader loads one kernel module file.
type loader func(path string) error

// readModules reads the image's list of modules. An image whose kernel has everything built in has no list.
func readModules() (modlist.Modules, error) {
	f, err := os.Open(moduleList)
	if errors.Is(err, os.ErrNotExist) {
		return modlist.Modules{}, nil
	}
	if err != nil {
		return modlist.Modules{}, err
	}
	defer f.Close()
	m, err := modlist.ReadModules(f)
	if err != nil {
		return modlist.Modules{}, fmt.Errorf("%s: %w", moduleList, err)
	}
	return m, nil
}

// loadGroups loads the modules of the groups, in order. A group without modules is one that the kernel has built in.
func loadGroups(m modlist.Modules, groups []string, load loader) error {
	loaded := make(map[string]bool)
	for _, group := range groups {
		if err := loadFiles(m.Groups[group], loaded, load); err != nil {
			return fmt.Errorf("modules for %s: %w", group, err)
		}
	}
	return nil
}

func loadFiles(files []string, loaded map[string]bool, load loader) error {
	for _, file := range files {
		if loaded[file] {
			continue
		}
		// The list is the image's own, but a name is still no path.
		if err := load(filepath.Join(moduleDir, filepath.Base(file))); err != nil {
			return err
		}
		loaded[file] = true
	}
	return nil
}

// finitModule loads a module; one that is loaded already is fine.
func finitModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if err != nil && err != unix.EEXIST { // errors of package unix are bare
		return fmt.Errorf("load module %s: %w", path, err)
	}
	return nil
}

// setModprobe makes the agent the kernel's helper for modules that are asked for by name: mounting an overlay, the
// first nftables rule. The magic link leads to the agent's memfd, so no file of it has to exist.
func setModprobe() error {
	err := os.WriteFile("/proc/sys/kernel/modprobe", []byte("/proc/1/exe"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel without loadable modules
	}
	return err
}

// IsModprobe tells whether the kernel has started the agent to load a module: "<path> -q -- NAME"
// (kernel/module/kmod.c).
func IsModprobe(args []string) bool {
	return len(args) == 4 && args[1] == "-q" && args[2] == "--"
}

// Modprobe loads the module that args name, with what it needs. The kernel throws the error away, as callers look at
// the result themselves.
func Modprobe(args []string) error {
	m, err := readModules()
	if err != nil {
		return err
	}
	return probe(m, args[3], finitModule)
}

// LoadModule loads a module with what it needs, if the image has it: what it lacks the kernel has built in.
func LoadModule(name string) error {
	m, err := readModules()
	if err != nil {
		return err
	}
	return loadFiles(m.Resolve(name), make(map[string]bool), finitModule)
}

func probe(m modlist.Modules, name string, load loader) error {
	files := m.Resolve(name)
	if len(files) == 0 {
		return fmt.Errorf("module %q is not in this guest image", name)
	}
	return loadFiles(files, make(map[string]bool), load)
}
