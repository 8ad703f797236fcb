package compat

import (
	_ "embed" // spec.json
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/globals"
)

// specConfig is the name of a bundle's configuration.
const specConfig = "config.json"

// SpecCommand is "runvm spec".
func SpecCommand() *cli.Command {
	return &cli.Command{
		Name: "spec", Usage: "create a new specification file", ArgsUsage: "",
		Description: `The spec command creates the new specification file named "config.json" for the bundle: the one that runc creates.

The spec generated is just a starter file. Editing of the spec is required to achieve desired results. For example, the
newly generated spec includes an args parameter that is initially set to call the "sh" command when the container is
started. With a bundle of your own:

    mkdir hello
    cd hello
    mkdir rootfs
    tar -C rootfs -xf hello-world.tar
    runvm spec
    sed -i 's;"sh";"/hello";' config.json
    runvm run container1`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "path to the root of the bundle directory"},
			&cli.BoolFlag{Name: "rootless", Usage: "generate a configuration for a rootless container"},
		},
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 0); err != nil {
				return err
			}
			return writeSpec(c.String("bundle"), c.Bool("rootless"))
		},
	}
}

// defaultSpec is the configuration that runc creates on a host with cgroup v1.
//
//go:embed spec.json
var defaultSpec []byte

// exampleSpec is runc's default configuration. unified says that the host has cgroup v2, where runc adds a namespace.
func exampleSpec(unified, rootless bool) ([]byte, error) {
	var spec specs.Spec
	if err := json.Unmarshal(defaultSpec, &spec); err != nil {
		return nil, err
	}
	if unified {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	if rootless {
		toRootless(&spec)
	}
	return json.MarshalIndent(&spec, "", "\t")
}

// toRootless makes of the default configuration one for a caller who is not root, as runc does.
func toRootless(spec *specs.Spec) {
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.NetworkNamespace
	})
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Geteuid()), Size: 1}}
	spec.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Getegid()), Size: 1}}
	spec.Linux.Resources = nil
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		if m.Destination == "/sys" {
			*m = specs.Mount{
				Source: "/sys", Destination: "/sys", Type: "none",
				Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"},
			}
		}
		// Other groups than the caller's do not exist in such a namespace.
		m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return strings.HasPrefix(o, "gid=") })
	}
}

// writeSpec writes runc's default configuration into a directory that has none; empty is the current one.
func writeSpec(dir string, rootless bool) error {
	data, err := exampleSpec(cgroups.IsCgroup2UnifiedMode(), rootless)
	if err != nil {
		return err
	}
	if dir != "" {
		if err := os.Chdir(dir); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(specConfig, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("File %s exists. Remove it first", specConfig) // runc's words
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
