// Package modlist is the list of kernel modules inside the guest image: which files there are, in which order they are
// loaded, and which module a request of the kernel ("fs-overlay", "nft-expr-2-ct") means. The image's builder writes it
// and the guest's agent reads it, so it imports nothing but the standard library.
package modlist

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// Path is where the list lies in the guest; the module files lie beside it.
const Path = "/lib/modules/modules.json"

const maxSize = 8 << 20 // bytes of JSON that Read accepts

// ErrInvalid is the error of a list that cannot be used.
var ErrInvalid = errors.New("invalid module list")

// Modules is the list. A file is a name without folder such as "virtio_ring.ko". A module's name is spelled with
// underscores only, as in /proc/modules.
type Modules struct {
	// Release is the kernel's release, as of `uname -r`.
	Release string `json:"release"`
	// Groups names the devices and filesystems that the agent prepares for. Each value is in load order, what a module
	// depends on first. A group that is built into the kernel has an empty list.
	Groups map[string][]string `json:"groups"`
	// OnDemand has every module of the image, with the files to load in order: its dependencies and itself.
	OnDemand map[string][]string `json:"ondemand"`
	// Aliases maps other names to modules. A key may be a glob (`*`, `?`, `[a-z]`), as MODULE_ALIAS allows.
	Aliases map[string]string `json:"aliases"`
}

// ReadModules reads and checks a list. The error wraps ErrInvalid, or is that of reading.
func ReadModules(r io.Reader) (Modules, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return Modules{}, fmt.Errorf("read module list: %w", err)
	}
	if len(data) > maxSize {
		return Modules{}, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, maxSize)
	}
	var m Modules
	if err := json.Unmarshal(data, &m); err != nil {
		return Modules{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return m, m.validate()
}

func (m Modules) validate() error {
	for _, lists := range []map[string][]string{m.Groups, m.OnDemand} {
		for name, files := range lists {
			for _, f := range files {
				if strings.Contains(f, "/") || !strings.HasSuffix(f, ".ko") {
					return fmt.Errorf("%w: %q of %q is not a plain module file name", ErrInvalid, f, name)
				}
			}
		}
	}
	for alias, name := range m.Aliases {
		if _, ok := m.OnDemand[name]; !ok {
			return fmt.Errorf("%w: alias %q names the unknown module %q", ErrInvalid, alias, name)
		}
		if _, err := path.Match(alias, ""); err != nil {
			return fmt.Errorf("%w: alias %q: %w", ErrInvalid, alias, err)
		}
	}
	return nil
}

// Resolve returns the files to load, in order, for a module's name or one of its aliases, spelled with `-` or `_`, as
// modprobe(8) takes them. It returns nil for what the image does not have.
func (m Modules) Resolve(nameOrAlias string) []string {
	if files, ok := m.OnDemand[Normalize(nameOrAlias)]; ok {
		return slices.Clone(files)
	}
	if name, ok := m.Aliases[nameOrAlias]; ok {
		return slices.Clone(m.OnDemand[name])
	}
	var files []string
	want := Normalize(nameOrAlias)
	for _, alias := range slices.Sorted(maps.Keys(m.Aliases)) {
		if ok, err := path.Match(normalizeGlob(alias), want); !ok || err != nil {
			continue
		}
		for _, f := range m.OnDemand[m.Aliases[alias]] {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files
}

// Normalize spells a module's name with underscores: the kernel takes "virtio-rng" and "virtio_rng" for the same.
func Normalize(name string) string { return strings.ReplaceAll(name, "-", "_") }

// normalizeGlob is Normalize except inside brackets, where the dash means a range.
func normalizeGlob(glob string) string {
	b := []byte(glob)
	inside := false
	for i, c := range b {
		switch {
		case c == '[':
			inside = true
		case c == ']':
			inside = false
		case c == '-' && !inside:
			b[i] = '_'
		}
	}
	return string(b)
}
