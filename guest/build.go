// Package guest builds the guest image: an ELF kernel that QEMU boots directly, and an initramfs with the agent and the
// kernel's modules. The same kernel and agent give the same bytes.
package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/runvm/runvm/guest/image"
	"github.com/runvm/runvm/internal/atomicfile"
)

// Options says what to build from. One of KernelDeb and KernelRoot is set.
type Options struct {
	KernelDeb     string    // a Debian linux-image package; it is not installed
	KernelRoot    string    // a folder with boot/vmlinuz-RELEASE and lib/modules/RELEASE; "/" for the host's own
	KernelRelease string    // which one of several in there; may be empty
	Agent         string    // the statically linked agent, which becomes /init
	Out           string    // folder to write to; made if it does not exist
	Log           io.Writer // progress and warnings; nil for none
}

// Manifest says what an image consists of.
type Manifest = image.Manifest

// Build writes the kernel, the initramfs and last the manifest into Out, under the names that package image gives them.
// Existing files are replaced one by one. Temporary files lie in Out too and are gone when Build returns.
func Build(ctx context.Context, o Options) (m Manifest, err error) {
	if (o.KernelDeb == "") == (o.KernelRoot == "") {
		return Manifest{}, errors.New("give either a kernel package or a kernel root")
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	agent, err := os.ReadFile(o.Agent)
	if err != nil {
		return Manifest{}, fmt.Errorf("agent: %w", err)
	}
	if err := checkAgent(agent); err != nil {
		return Manifest{}, fmt.Errorf("agent %s: %w", o.Agent, err)
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return Manifest{}, err
	}
	root := o.KernelRoot
	if o.KernelDeb != "" {
		if root, err = os.MkdirTemp(o.Out, ".kernel-"); err != nil {
			return Manifest{}, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
		err = step(o.Log, "unpacking "+filepath.Base(o.KernelDeb), func() error { return unpackDeb(ctx, o.KernelDeb, root) })
		if err != nil {
			return Manifest{}, err
		}
	}
	return buildFrom(ctx, os.DirFS(root), agent, o)
}

func buildFrom(ctx context.Context, fsys fs.FS, agent []byte, o Options) (Manifest, error) {
	source, err := findKernel(fsys, o.KernelRelease)
	if err != nil {
		return Manifest{}, err
	}
	var kernel, archive []byte
	m := Manifest{KernelRelease: source.release, AgentSHA256: checksum(agent)}
	err = step(o.Log, "extracting kernel "+source.release, func() (err error) {
		kernel, err = source.kernel()
		return err
	})
	if err != nil {
		return Manifest{}, err
	}
	if err := ctx.Err(); err != nil {
		return Manifest{}, err
	}
	err = step(o.Log, "collecting modules", func() (err error) {
		archive, m.Modules, err = source.initramfs(agent, o.Log)
		return err
	})
	if err != nil {
		return Manifest{}, err
	}
	m.KernelSHA256, m.InitramfsSHA256 = checksum(kernel), checksum(archive)
	return m, writeImage(ctx, o.Out, kernel, archive, m)
}

func (s kernelSource) kernel() ([]byte, error) {
	data, err := fs.ReadFile(s.fsys, s.vmlinuz)
	if err != nil {
		return nil, err
	}
	kernel, err := extractKernel(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.vmlinuz, err)
	}
	if kernel, err = shrinkKernel(kernel); err != nil {
		return nil, fmt.Errorf("%s: %w", s.vmlinuz, err)
	}
	return kernel, nil
}

func (s kernelSource) initramfs(agent []byte, log io.Writer) (archive []byte, groups map[string][]string, err error) {
	dir, err := fs.Sub(s.fsys, s.modules)
	if err != nil {
		return nil, nil, err
	}
	tree, err := openModules(dir)
	if err != nil {
		return nil, nil, err
	}
	list, files, err := collect(tree, s.release, log)
	if err != nil {
		return nil, nil, err
	}
	archive, err = initramfs(agent, list, files)
	return archive, list.Groups, err
}

func writeImage(ctx context.Context, dir string, kernel, archive []byte, m Manifest) error {
	manifest, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{image.KernelName, kernel}, {image.InitrdName, archive}, {image.ManifestName, append(manifest, '\n')}} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := atomicfile.WriteFile(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// step says what is being done before it takes its time, and how long it took.
func step(log io.Writer, what string, do func() error) error {
	start := time.Now()
	fmt.Fprintf(log, "%s...\n", what)
	if err := do(); err != nil {
		return err
	}
	fmt.Fprintf(log, "%s: done in %.1f s\n", what, time.Since(start).Seconds())
	return nil
}

func checksum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
