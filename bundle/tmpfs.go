package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// tmpfsMode gives a tmpfs without a mode the kernel's default if its mount point has yet to be made. runc gives it the
// mode of the directory that it covers, and so does the guest, which always finds one: the host has made it by then.
func (p *planner) tmpfsMode(m *specs.Mount) error {
	if m.Type != "tmpfs" || slices.ContainsFunc(m.Options, func(o string) bool { return strings.HasPrefix(o, "mode=") }) {
		return nil
	}
	root, path := p.bundle.Rootfs(), m.Destination
	if cover := p.covering(m.Destination); cover != nil {
		if cover.share == nil {
			return nil // the guest makes the mount point itself
		}
		root, path = cover.share.Source, filepath.Join("/", strings.TrimPrefix(path, cover.share.Destination))
	}
	exists, err := existsInRoot(root, path)
	if err != nil {
		return fmt.Errorf("look for mount point %q in %s: %w", path, root, err)
	}
	if !exists {
		m.Options = append(m.Options, "mode=1777")
	}
	return nil
}

// existsInRoot says whether there is something at the path, as a process in the root sees it.
func existsInRoot(root, path string) (bool, error) {
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer dir.Close()
	f, err := pathrs.OpenatInRoot(dir, path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}
