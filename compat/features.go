package compat

import (
	"encoding/json"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer/capabilities"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	runcfeatures "github.com/opencontainers/runc/types/features"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/globals"
)

// FeaturesCommand is "runvm features".
func FeaturesCommand() *cli.Command {
	return &cli.Command{
		Name: "features", Usage: "show the enabled features", ArgsUsage: "",
		Description: `Show the enabled features. The result is parsable as a JSON.
See https://github.com/opencontainers/runtime-spec/blob/main/features.md for the type definition.`,
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 0); err != nil {
				return err
			}
			enc := json.NewEncoder(c.App.Writer)
			enc.SetIndent("", "    ")
			return enc.Encode(featureList())
		},
	}
}

// featureList is what a configuration may ask for. libcontainer makes the containers in the guest, so what it knows is
// known, less what bundle.Plan refuses.
func featureList() features.Features {
	yes, no := true, false
	return features.Features{
		OCIVersionMin: "1.0.0", OCIVersionMax: specs.Version,
		Hooks:        configs.KnownHookNames(),
		MountOptions: without(knownMountOptions, "idmap", "ridmap"),
		Linux: &features.Linux{
			Namespaces:   knownNamespaces,
			Capabilities: capabilities.KnownCapabilities(),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &no, Rdma: &no},
			Seccomp: &features.Seccomp{
				Enabled: &yes,
				// A listener on the host cannot serve processes of a guest.
				Actions:        without(seccomp.KnownActions(), "SCMP_ACT_NOTIFY"),
				Operators:      seccomp.KnownOperators(),
				Archs:          seccomp.KnownArchs(),
				KnownFlags:     seccomp.KnownFlags(),
				SupportedFlags: without(seccomp.KnownFlags(), string(specs.LinuxSeccompFlagWaitKillableRecv)),
			},
			Apparmor: &features.Apparmor{Enabled: &no},
			Selinux:  &features.Selinux{Enabled: &no},
			IntelRdt: &features.IntelRdt{Enabled: &no, Schemata: &no, Monitoring: &no},
			MemoryPolicy: &features.MemoryPolicy{
				Modes: knownMemoryPolicyModes, Flags: knownMemoryPolicyFlags,
			},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &no}},
			NetDevices:      &features.NetDevices{Enabled: &no},
		},
		Annotations: map[string]string{
			runcfeatures.AnnotationRuncVersion:           runcVersion(),
			runcfeatures.AnnotationRuncCheckpointEnabled: "false",
		},
	}
}

// without returns a list less some of its elements.
func without(list []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(names, s) })
}

// runcVersion is the release of runc that this program behaves like: the one whose packages it is built with.
func runcVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/opencontainers/runc" {
			return strings.TrimPrefix(m.Version, "v")
		}
	}
	return ""
}
