package vmm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Where distributions put the programs. Debian's virtiofsd (until QEMU 8.0, in C) is in /usr/lib/qemu, Fedora's and
// openSUSE's (in Rust) in /usr/libexec, Arch's and older openSUSE's in /usr/lib.
func qemuNames() []string {
	return []string{"qemu-system-x86_64", "/usr/libexec/qemu-kvm"}
}

func virtiofsdNames() []string {
	return []string{
		"/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd", "/usr/libexec/qemu/virtiofsd", "virtiofsd",
	}
}

// installQEMU is the way out when there is no QEMU: Debian's and Arch's package, Fedora's, and RHEL's.
const installQEMU = "install qemu-system-x86 (qemu-system-x86-core, qemu-kvm) or set qemu_path"

// FindQEMU returns the absolute path of QEMU: the configured one, or else the distribution's. Errors wrap ErrNotFound.
func FindQEMU(configured string) (string, error) {
	path, err := find(configured, qemuNames())
	if err != nil {
		return "", fmt.Errorf("QEMU: %w: %s", err, installQEMU)
	}
	return path, nil
}

// FindVirtiofsd returns the absolute path of virtiofsd, the configured one or else the distribution's, and whether it
// is the implementation in Rust, whose options differ. It runs the program once to ask for its version. Errors wrap
// ErrNotFound where there is none.
func FindVirtiofsd(configured string) (path string, rust bool, err error) {
	path, err = find(configured, virtiofsdNames())
	if err != nil {
		return "", false, fmt.Errorf("virtiofsd: %w: install virtiofsd (Debian 12: qemu-system-common) or set virtiofsd_path",
			err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), versionTimeout)
	defer cancel()
	// What matters is the text: the program in C says its version and exits with 0, an unknown one may do neither.
	text, runErr := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	rust, err = classifyVirtiofsd(string(text))
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", path, errors.Join(err, runErr))
	}
	return path, rust, nil
}

const versionTimeout = 5 * time.Second

// find returns the configured program or the first of the candidates that can be executed.
func find(configured string, candidates []string) (string, error) {
	if configured != "" {
		candidates = []string{configured}
	}
	for _, name := range candidates {
		path, err := exec.LookPath(name)
		if err != nil {
			if configured != "" && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, exec.ErrNotFound) {
				return "", err
			}
			continue
		}
		return filepath.Abs(path)
	}
	return "", fmt.Errorf("%w (tried %s)", ErrNotFound, strings.Join(candidates, ", "))
}

// errUnknownVirtiofsd is said of a program that does not describe itself as virtiofsd does.
var errUnknownVirtiofsd = errors.New("not a known virtiofsd")

// classifyVirtiofsd tells virtiofsd in C ("virtiofsd version 7.2.22 (Debian ...)", then "using FUSE kernel interface
// version 7.36") from the one in Rust ("virtiofsd 1.13.0", before its first release "virtiofsd backend 0.1.0").
func classifyVirtiofsd(version string) (rust bool, err error) {
	line, _, _ := strings.Cut(strings.TrimSpace(version), "\n")
	rest, found := strings.CutPrefix(line, "virtiofsd ")
	switch {
	case found && strings.HasPrefix(rest, "version "), strings.Contains(version, "FUSE kernel interface version"),
		strings.Contains(version, "FUSE library version"):
		return false, nil
	case found && rest != "" && rest[0] >= '0' && rest[0] <= '9', strings.HasPrefix(rest, "backend "):
		return true, nil
	}
	return false, fmt.Errorf("%w: --version said %q", errUnknownVirtiofsd, line)
}
