package bundle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Validate checks what can be checked before anything is made. Where runc has a message for a fault, it is that one.
func (b *Bundle) Validate() error {
	checks := []func(*specs.Spec) error{
		checkVersion, checkSections, b.checkRootfs, checkNamespaces, checkUTS, checkPropagation, checkMounts,
		checkHooks, checkSysctls, checkNames, checkSeccomp,
	}
	for _, check := range checks {
		if err := check(b.Spec); err != nil {
			return err
		}
	}
	return nil
}

// supportedVersion takes every version of major 1: by its own rule (semantic versioning) the specification stays
// compatible within a major version.
var supportedVersion = regexp.MustCompile(`^1\.[0-9]+\.[0-9]+([-+].*)?$`)

func checkVersion(s *specs.Spec) error {
	if !supportedVersion.MatchString(s.Version) {
		return unsupportedf("ociVersion %q is not supported: use 1.x.y, such as %s", s.Version, specs.Version)
	}
	return nil
}

func checkSections(s *specs.Spec) error {
	if err := ValidateProcess(s.Process); err != nil {
		return err
	}
	switch {
	case s.Root == nil:
		return errors.New("root must be specified")
	case s.Root.Path == "":
		return errors.New("root.path must not be empty")
	case s.Linux == nil:
		return errors.New("linux must be specified")
	case s.VM != nil:
		return unsupportedf("the vm section of %s is not supported: set the virtual machine's properties in runvm's "+
			"own configuration", configName)
	}
	return nil
}

// checkRootfs refuses a root that is itself a symbolic link, as runc does.
func (b *Bundle) checkRootfs(*specs.Spec) error {
	root := b.Rootfs()
	info, err := os.Stat(root)
	if err != nil {
		return fmt.Errorf("invalid rootfs: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("invalid rootfs: %s: not a directory", root)
	}
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil {
		return fmt.Errorf("invalid rootfs: %w", err)
	}
	if resolved != root {
		return errors.New("invalid rootfs: not an absolute path, or a symlink")
	}
	return nil
}

func checkNamespaces(s *specs.Spec) error {
	seen := map[specs.LinuxNamespaceType]bool{}
	for _, ns := range s.Linux.Namespaces {
		if _, known := procName(ns.Type); !known {
			return fmt.Errorf("namespace %q does not exist", ns)
		}
		if seen[ns.Type] {
			return fmt.Errorf("malformed spec file: duplicated ns %q", ns)
		}
		seen[ns.Type] = true
	}
	l := s.Linux
	if (len(l.MaskedPaths) > 0 || len(l.ReadonlyPaths) > 0) && !seen[specs.MountNamespace] {
		return errors.New("unable to restrict sys entries without a private MNT namespace")
	}
	mapped := len(l.UIDMappings) > 0 || len(l.GIDMappings) > 0
	user := findNamespace(l.Namespaces, specs.UserNamespace)
	switch {
	case user == nil && mapped:
		return errors.New("user namespace mappings specified, but user namespace isn't enabled in the config")
	case user != nil && user.Path == "" && !mapped:
		return errors.New("user namespaces enabled, but no namespace path to join nor mappings to apply specified")
	case !seen[specs.TimeNamespace] && len(l.TimeOffsets) > 0:
		return errors.New("time namespace offsets specified, but time namespace isn't enabled in the config")
	}
	return nil
}

func checkUTS(s *specs.Spec) error {
	if findNamespace(s.Linux.Namespaces, specs.UTSNamespace) != nil {
		return nil
	}
	if s.Hostname != "" {
		return errors.New("unable to set hostname without a private UTS namespace")
	}
	if s.Domainname != "" {
		return errors.New("unable to set domainname without a private UTS namespace")
	}
	return nil
}

func checkPropagation(s *specs.Spec) error {
	known := []string{
		"", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable",
	}
	if p := s.Linux.RootfsPropagation; !slices.Contains(known, p) {
		return fmt.Errorf("rootfsPropagation=%v is not supported", p)
	}
	return nil
}

func checkMounts(s *specs.Spec) error {
	for _, m := range s.Mounts {
		if strings.ContainsRune(m.Source+m.Destination+m.Type, 0) {
			return fmt.Errorf("invalid mount %+v: mount field contains null byte", m)
		}
		if m.Destination == "" {
			return fmt.Errorf("invalid mount %+v: destination must not be empty", m)
		}
	}
	return nil
}

// checkHooks applies the specification's rule that a hook's path is absolute.
func checkHooks(s *specs.Spec) error {
	if s.Hooks == nil {
		return nil
	}
	h := s.Hooks
	//lint:ignore SA1019 deprecated in the specification, still used by Docker
	all := slices.Concat(h.Prestart, h.CreateRuntime, h.CreateContainer, h.StartContainer, h.Poststart,
		h.Poststop)
	for _, hook := range all {
		if !filepath.IsAbs(hook.Path) {
			return fmt.Errorf("hook path %q is not absolute", hook.Path)
		}
	}
	return nil
}
