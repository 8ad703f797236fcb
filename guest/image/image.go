// Package image finds the guest image (kernel, initramfs and manifest) that virtual machines of this host boot.
package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File names inside an image's folder.
const (
	KernelName   = "vmlinux"
	InitrdName   = "initramfs.cpio"
	ManifestName = "manifest.json"
)

// SmallDir is the folder, inside an image's folder, of the image with the small kernel of `make kernel`.
const SmallDir = "small"

const maxManifest = 1 << 20 // bytes

// ErrNotFound is the error of a host on which no guest image is installed.
var ErrNotFound = errors.New("guest image not found")

// Manifest says what an image was built from. Checksums are SHA-256 in lower-case hexadecimal.
type Manifest struct {
	KernelRelease   string              `json:"kernelRelease"`
	KernelSHA256    string              `json:"kernelSha256"`
	InitramfsSHA256 string              `json:"initramfsSha256"`
	AgentSHA256     string              `json:"agentSha256"`
	Modules         map[string][]string `json:"modules"` // group to file names in load order
}

// Image is a kernel and the initramfs that belongs to it, as absolute or caller-relative paths of existing files.
type Image struct {
	Kernel, Initrd string
	// Manifest is the zero value for a kernel and initramfs without a manifest.json beside the kernel.
	Manifest Manifest
}

// Find returns the configured kernel and initramfs, or, where both are empty, the first complete image of:
// exeDir/guest, exeDir/../share/runvm, /usr/local/share/runvm, /usr/share/runvm. In each of them the image in SmallDir
// comes first: it boots faster. The error wraps ErrNotFound, or says what is wrong with the files that were configured.
func Find(configKernel, configInitramfs, exeDir string) (Image, error) {
	if configKernel != "" || configInitramfs != "" {
		return configured(configKernel, configInitramfs)
	}
	dirs := searchPath(exeDir)
	for _, dir := range dirs {
		for _, d := range []string{filepath.Join(dir, SmallDir), dir} {
			img := Image{Kernel: filepath.Join(d, KernelName), Initrd: filepath.Join(d, InitrdName)}
			if isFile(img.Kernel) == nil && isFile(img.Initrd) == nil {
				return img.withManifest()
			}
		}
	}
	return Image{}, fmt.Errorf("%w: looked for %s and %s in %s: run `make guest` or `make install`, or set "+
		"guest.kernel and guest.initramfs in /etc/runvm/config.toml", ErrNotFound, KernelName, InitrdName,
		strings.Join(dirs, ", "))
}

func searchPath(exeDir string) []string {
	return []string{
		filepath.Join(exeDir, "guest"),
		filepath.Join(exeDir, "..", "share", "runvm"),
		"/usr/local/share/runvm",
		"/usr/share/runvm",
	}
}

func configured(kernel, initramfs string) (Image, error) {
	if kernel == "" || initramfs == "" {
		return Image{}, fmt.Errorf("guest.kernel is %q and guest.initramfs is %q: set both, since the modules in the "+
			"initramfs belong to one kernel, or neither", kernel, initramfs)
	}
	if err := isFile(kernel); err != nil {
		return Image{}, fmt.Errorf("guest.kernel: %w", err)
	}
	if err := isFile(initramfs); err != nil {
		return Image{}, fmt.Errorf("guest.initramfs: %w", err)
	}
	return Image{Kernel: kernel, Initrd: initramfs}.withManifest()
}

func (i Image) withManifest() (Image, error) {
	m, err := ReadManifest(filepath.Join(filepath.Dir(i.Kernel), ManifestName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Image{}, fmt.Errorf("guest image: %w", err)
	}
	i.Manifest = m
	return i, nil
}

// ReadManifest reads a manifest.json.
func ReadManifest(name string) (Manifest, error) {
	f, err := os.Open(name)
	if err != nil {
		return Manifest{}, err
	}
	defer f.Close()
	var m Manifest
	if err := json.NewDecoder(io.LimitReader(f, maxManifest)).Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

func isFile(name string) error {
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", name)
	}
	return nil
}
