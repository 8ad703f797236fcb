// Package sysctl sets kernel parameters of the guest.
package sysctl

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const root = "/proc/sys"

// ErrName is the error of a parameter's name that is none.
var ErrName = errors.New("invalid sysctl name")

// Write sets the parameters in the order of their names.
func Write(parameters map[string]string) error {
	if len(parameters) == 0 {
		return nil
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if err := write(dir, name, parameters[name]); err != nil {
			return fmt.Errorf("sysctl %s: %w", name, err)
		}
	}
	return nil
}

func write(dir *os.Root, name, value string) error {
	path, err := Path(name)
	if err != nil {
		return err
	}
	f, err := dir.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// Path returns where a parameter lies below /proc/sys. A name with a slash is one whose elements may have dots
// ("net/ipv4/conf/eth0.100/forwarding"), as sysctl(8) has it.
func Path(name string) (string, error) {
	path := name
	if !strings.Contains(name, "/") {
		path = strings.ReplaceAll(name, ".", "/")
	}
	if !filepath.IsLocal(path) || filepath.Clean(path) != path || path == "." {
		return "", fmt.Errorf("%w: %q", ErrName, name)
	}
	return path, nil
}
