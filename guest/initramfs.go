package guest

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/runvm/runvm/guest/modlist"
)

var errAgent = errors.New("not a usable agent")

// collect puts the list of modules together and returns it with the files, by name. Modules that a kernel may lack are
// named in a warning on log.
func collect(t *moduleTree, release string, log io.Writer) (modlist.Modules, map[string][]byte, error) {
	c := collector{tree: t, files: map[string][]byte{}, list: modlist.Modules{
		Release: release, Groups: map[string][]string{}, OnDemand: map[string][]string{}, Aliases: map[string]string{},
	}}
	for _, g := range groups() {
		if err := c.group(g, log); err != nil {
			return modlist.Modules{}, nil, err
		}
	}
	for _, name := range onDemand() {
		if _, err := c.add(name); errors.Is(err, errNoModule) {
			fmt.Fprintf(log, "warning: %v: left out\n", err)
		} else if err != nil {
			return modlist.Modules{}, nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.list.OnDemand)) {
		info, err := t.info(name)
		if err != nil {
			return modlist.Modules{}, nil, err
		}
		for _, a := range info.aliases {
			t.addAlias(c.list.Aliases, a, name)
		}
	}
	return c.list, c.files, nil
}

type collector struct {
	tree  *moduleTree
	list  modlist.Modules
	files map[string][]byte
}

// group adds a group. One of which the kernel has nothing at all is left out of the list.
func (c *collector) group(g group, log io.Writer) error {
	found := false
	files := []string{}
	for _, name := range slices.Concat(g.required, g.optional) {
		order, err := c.add(name)
		if errors.Is(err, errNoModule) && slices.Contains(g.optional, name) {
			fmt.Fprintf(log, "warning: group %s: %v: left out\n", g.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("group %s: %w", g.name, err)
		}
		found = true
		for _, f := range order {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	if found {
		c.list.Groups[g.name] = files
	}
	return nil
}

// add puts a module and its dependencies into the image and returns their files in load order.
func (c *collector) add(name string) ([]string, error) {
	order, err := c.tree.loadOrder(name)
	if err != nil {
		return nil, err
	}
	for _, n := range order {
		if c.list.OnDemand[n] != nil {
			continue
		}
		needs, err := c.tree.loadOrder(n)
		if err != nil {
			return nil, err
		}
		c.list.OnDemand[n] = fileNames(needs)
		if c.files[n+".ko"], err = c.tree.content(n); err != nil {
			return nil, err
		}
	}
	return fileNames(order), nil
}

func fileNames(modules []string) []string {
	files := make([]string, len(modules))
	for i, name := range modules {
		files[i] = name + ".ko"
	}
	return files
}

// initramfs returns the archive that the guest's kernel unpacks as its first root.
func initramfs(agent []byte, list modlist.Modules, files map[string][]byte) ([]byte, error) {
	index, err := json.MarshalIndent(list, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("module list: %w", err)
	}
	entries := []entry{
		{name: "init", mode: modeFile | 0o755, data: agent},
		// The kernel opens /dev/console for PID 1 before anything is mounted, and Go's runtime aborts without
		// /dev/null when a standard descriptor is closed.
		{name: "dev/console", mode: modeChar | 0o600, major: 5, minor: 1},
		{name: "dev/null", mode: modeChar | 0o666, major: 1, minor: 3},
	}
	dirs := []string{"dev", "newroot", "proc", "run", "sys", "tmp"}
	if len(files) > 0 { // the agent loads nothing where there is no list
		dirs = append(dirs, "lib", "lib/modules")
		entries = append(entries, entry{name: modlist.Path[1:], mode: modeFile | 0o644, data: append(index, '\n')})
	}
	for _, dir := range dirs {
		entries = append(entries, entry{name: dir, mode: modeDir | 0o755})
	}
	for name, data := range files {
		entries = append(entries, entry{name: "lib/modules/" + name, mode: modeFile | 0o644, data: data})
	}
	var b bytes.Buffer
	if err := writeCPIO(&b, entries); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// checkAgent refuses what the guest's kernel could not run as PID 1: there is no dynamic loader in the image.
func checkAgent(data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%w: %w", errAgent, err)
	}
	if f.Machine != elf.EM_X86_64 {
		return fmt.Errorf("%w: built for %v, the guest is x86-64", errAgent, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%w: dynamically linked: build it with CGO_ENABLED=0 or -ldflags '-extldflags -static'",
				errAgent)
		}
	}
	return nil
}
