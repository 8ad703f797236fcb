package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
)

// kernelSource is a kernel and its modules inside a file tree.
type kernelSource struct {
	release string
	vmlinuz string // path in fsys
	modules string // path of lib/modules/RELEASE in fsys
	fsys    fs.FS
}

// findKernel looks through a root for lib/modules/RELEASE with its vmlinuz in there or in boot/. An empty release means
// the only one that there is.
func findKernel(fsys fs.FS, release string) (kernelSource, error) {
	var found []kernelSource
	for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
		dirs, err := fs.ReadDir(fsys, lib)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return kernelSource{}, err
		}
		for _, d := range dirs {
			s := kernelSource{release: d.Name(), modules: path.Join(lib, d.Name()), fsys: fsys}
			if release != "" && s.release != release {
				continue
			}
			if s.findVmlinuz() {
				found = append(found, s)
			}
		}
		if len(found) > 0 {
			break // /lib is often a link to /usr/lib
		}
	}
	switch len(found) {
	case 0:
		return kernelSource{}, fmt.Errorf("%w: no boot/vmlinuz-RELEASE with lib/modules/RELEASE (release wanted: %q)",
			errKernel, release)
	case 1:
		return found[0], nil
	}
	var names []string
	for _, s := range found {
		names = append(names, s.release)
	}
	return kernelSource{}, fmt.Errorf("%w: several kernels (%s): choose one with -kernel-release", errKernel,
		strings.Join(names, ", "))
}

func (s *kernelSource) findVmlinuz() bool {
	for _, p := range []string{"boot/vmlinuz-" + s.release, path.Join(s.modules, "vmlinuz")} {
		if fi, err := fs.Stat(s.fsys, p); err == nil && fi.Mode().IsRegular() {
			s.vmlinuz = p
			return true
		}
	}
	return false
}

// unpackDeb extracts the kernel and its modules from a Debian package into dir. It needs dpkg-deb(1).
func unpackDeb(ctx context.Context, deb, dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: on other distributions than Debian's, unpack the kernel and use -kernel-root", err)
	}
	if err := untar(root, out); err != nil {
		cancel()
		return errors.Join(fmt.Errorf("%s: %w", deb, err), cmd.Wait())
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("dpkg-deb %s: %w: %s", deb, err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// untar writes the regular files below boot and lib/modules into root.
func untar(root *os.Root, r io.Reader) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r) // the padding, so that the writer does not see a closed pipe
			return err
		}
		if err != nil {
			return err
		}
		name := path.Clean("/" + h.Name)[1:]
		if h.Typeflag != tar.TypeReg || !wanted(name) {
			continue
		}
		if err := writeMember(root, name, in); err != nil {
			return err
		}
	}
}

func wanted(name string) bool {
	return strings.HasPrefix(name, "boot/vmlinuz-") || strings.HasPrefix(strings.TrimPrefix(name, "usr/"), "lib/modules/")
}

func writeMember(root *os.Root, name string, r io.Reader) (err error) {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
