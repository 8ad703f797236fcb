// Package bundle reads and validates an OCI bundle and decides what becomes of each part of its configuration when the
// container runs in a virtual machine: what the guest gets, what is shared with it, and what happens on the host. It
// changes nothing, except for MakeMountpoints.
package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// configName is the file that makes a directory a bundle (runtime-spec, "Filesystem Bundle").
const configName = "config.json"

// maxConfig bounds config.json and process files, in bytes.
const maxConfig = 16 << 20

// Bundle is a directory with a config.json that was read.
type Bundle struct {
	Dir  string // absolute, without symbolic links
	Spec *specs.Spec

	// Readiness says that whoever starts the container wants to hear when it is ready.
	Readiness bool
}

// Load reads the bundle in dir. Its errors are worded as runc's. Only the process section has been checked then.
func Load(dir string) (*Bundle, error) {
	abs, err := resolveDir(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(abs, configName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("JSON specification file %s not found", configName)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	spec, err := decodeSpec(f)
	if err != nil {
		return nil, err
	}
	return &Bundle{Dir: abs, Spec: spec}, nil
}

// resolveDir does what chdir(2) and getcwd(2) do for runc. The empty path is the working directory.
func resolveDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", chdirError(dir, err)
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return "", chdirError(dir, err)
	}
	if !info.IsDir() {
		return "", chdirError(dir, syscall.ENOTDIR)
	}
	return resolved, nil
}

// chdirError keeps the reason and words the rest as a failed chdir.
func chdirError(dir string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &fs.PathError{Op: "chdir", Path: dir, Err: err}
}

// Rootfs returns the absolute path of the container's root on the host.
func (b *Bundle) Rootfs() string {
	if b.Spec.Root == nil {
		return ""
	}
	return b.absolute(b.Spec.Root.Path)
}

// absolute interprets a path of config.json, which may be relative to the bundle.
func (b *Bundle) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(b.Dir, path)
}

// LoadProcess reads the process object that "exec --process" names, with runc's checks and messages.
func LoadProcess(path string) (*specs.Process, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return decodeProcess(f)
}

func decodeSpec(r io.Reader) (*specs.Spec, error) {
	var spec *specs.Spec
	if err := decode(r, &spec); err != nil {
		return nil, err
	}
	if spec == nil {
		return nil, errors.New("config cannot be null")
	}
	return spec, ValidateProcess(spec.Process)
}

func decodeProcess(r io.Reader) (*specs.Process, error) {
	var p specs.Process
	if err := decode(r, &p); err != nil {
		return nil, err
	}
	return &p, ValidateProcess(&p)
}

// decode reads the first JSON value of r, as runc does.
func decode(r io.Reader, into any) error {
	bounded := &io.LimitedReader{R: r, N: maxConfig + 1}
	err := json.NewDecoder(bounded).Decode(into)
	if bounded.N <= 0 {
		return fmt.Errorf("JSON file is larger than %d MiB", maxConfig>>20)
	}
	return err
}

// ValidateProcess checks a process as runc does before it does anything with it.
func ValidateProcess(p *specs.Process) error {
	switch {
	case p == nil:
		return errors.New("process property must not be empty")
	case p.Cwd == "":
		return errors.New("Cwd property must not be empty")
	case !filepath.IsAbs(p.Cwd):
		return errors.New("Cwd must be an absolute path")
	case len(p.Args) == 0:
		return errors.New("args must not be empty")
	}
	return checkRlimits(p)
}
