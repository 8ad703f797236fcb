package guest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/runvm/runvm/guest/modlist"
)

var errNoModule = errors.New("the kernel does not have the module")

// moduleTree is a lib/modules/RELEASE folder.
type moduleTree struct {
	fsys    fs.FS // rooted at lib/modules/RELEASE
	paths   map[string]string
	builtin map[string]bool
	infos   map[string]modinfo
	aliases map[string]string // exact aliases of every module; nil until a soft dependency needs them
}

// openModules lists the modules of a lib/modules/RELEASE folder. The caller keeps fsys valid as long as the tree.
func openModules(fsys fs.FS) (*moduleTree, error) {
	t := &moduleTree{fsys: fsys, paths: map[string]string{}, builtin: map[string]bool{}, infos: map[string]modinfo{}}
	err := fs.WalkDir(fsys, "kernel", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := moduleName(p); ok && d.Type().IsRegular() {
			t.paths[name] = p
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	builtin, err := fs.ReadFile(fsys, "modules.builtin")
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	for line := range strings.Lines(string(builtin)) {
		if name, ok := moduleName(strings.TrimSpace(line)); ok {
			t.builtin[name] = true
		}
	}
	return t, nil
}

// moduleName returns the normalized name of a module file, compressed or not.
func moduleName(file string) (string, bool) {
	name, _, ok := strings.Cut(path.Base(file), ".ko")
	return modlist.Normalize(name), ok && slices.Contains([]string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"},
		path.Base(file)[len(name):])
}

// has says whether the kernel has the module, as a file or built in.
func (t *moduleTree) has(name string) bool { return t.paths[name] != "" || t.builtin[name] }

// content returns a module's file, decompressed.
func (t *moduleTree) content(name string) ([]byte, error) {
	p, ok := t.paths[name]
	if !ok {
		return nil, fmt.Errorf("%w %s", errNoModule, name)
	}
	data, err := fs.ReadFile(t.fsys, p)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(p, ".ko") {
		return data, nil
	}
	data, err = decompress(data)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", p, err)
	}
	return data, nil
}

func (t *moduleTree) info(name string) (modinfo, error) {
	if info, ok := t.infos[name]; ok {
		return info, nil
	}
	data, err := t.content(name)
	if err != nil {
		return modinfo{}, err
	}
	info, err := readModinfo(bytes.NewReader(data))
	if err != nil {
		return modinfo{}, fmt.Errorf("module %s: %w", t.paths[name], err)
	}
	t.infos[name] = info
	return info, nil
}

// loadOrder returns the module and everything it depends on, dependencies first, without what is built in. The error
// wraps errNoModule when one of them does not exist.
func (t *moduleTree) loadOrder(name string) ([]string, error) {
	var order, above []string
	var visit func(string) error
	visit = func(name string) error {
		if t.builtin[name] || slices.Contains(order, name) {
			return nil
		}
		if slices.Contains(above, name) {
			return fmt.Errorf("modules depend on each other: %s, %s", strings.Join(above, ", "), name)
		}
		above = append(above, name)
		info, err := t.info(name)
		if err != nil {
			return err
		}
		for _, d := range slices.Concat(t.softDepends(info), info.depends) {
			if err := visit(d); err != nil {
				return fmt.Errorf("needed by %s: %w", name, err)
			}
		}
		above = above[:len(above)-1]
		order = append(order, name)
		return nil
	}
	if err := visit(name); err != nil {
		return nil, err
	}
	return order, nil
}

// softDepends returns the modules that a "softdep pre" means, without those that do not exist: they are hints.
func (t *moduleTree) softDepends(info modinfo) (names []string) {
	for _, want := range info.pre {
		name := modlist.Normalize(want)
		if !t.has(name) {
			name = t.byAlias(want)
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// byAlias returns the module of an exact alias, or "".
func (t *moduleTree) byAlias(alias string) string {
	if t.aliases == nil {
		t.aliases = t.depmodAliases()
	}
	if t.aliases == nil {
		t.aliases = t.scanAliases()
	}
	return t.aliases[alias]
}

// depmodAliases reads the modules.alias of an installed kernel (depmod(8)); nil if there is none, as in a package.
func (t *moduleTree) depmodAliases() map[string]string {
	f, err := t.fsys.Open("modules.alias")
	if err != nil {
		return nil
	}
	defer f.Close()
	aliases := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "alias" {
			t.addAlias(aliases, fields[1], modlist.Normalize(fields[2]))
		}
	}
	return aliases
}

// scanAliases reads every module. What cannot be read has no alias: nothing depends on it but a hint.
func (t *moduleTree) scanAliases() map[string]string {
	aliases := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(t.paths)) {
		info, err := t.info(name)
		if err != nil {
			continue
		}
		for _, a := range info.aliases {
			t.addAlias(aliases, a, name)
		}
	}
	return aliases
}

// addAlias keeps one module for an alias of several, such as crypto-crc32c: the one that runs on every processor rather
// than the accelerated one under arch/, which refuses to load where its instructions are missing.
func (t *moduleTree) addAlias(aliases map[string]string, alias, name string) {
	old, taken := aliases[alias]
	if !taken || strings.HasPrefix(t.paths[old], "kernel/arch/") && !strings.HasPrefix(t.paths[name], "kernel/arch/") {
		aliases[alias] = name
	}
}
