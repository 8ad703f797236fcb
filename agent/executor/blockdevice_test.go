package executor

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func number(n int64) *int64 { return &n }

// TestTranslateDisks: the host's numbers, of which some mean another disk in the guest, become the guest's.
func TestTranslateDisks(t *testing.T) {
	rule := func(allow bool, kind string, major, minor *int64, access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Major: major, Minor: minor, Access: access}
	}
	spec := &specs.Spec{
		Mounts: []specs.Mount{
			{Type: "bind", Source: "/dev/sda", Destination: "/dev/xvda"}, {Type: "bind", Source: "/dev/null", Destination: "/n"},
		},
		Linux: &specs.Linux{
			Devices: []specs.LinuxDevice{
				{Path: "/dev/a", Type: "b", Major: 8, Minor: 0}, {Path: "/dev/b", Type: "b", Major: 254, Minor: 0},
				{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229},
			},
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
				rule(false, "a", nil, nil, "rwm"), rule(true, "c", number(10), number(229), "rw"),
				rule(true, "b", number(8), number(0), "r"), rule(true, "b", number(254), number(16), "rwm"),
				rule(true, "b", number(254), nil, "rw"), rule(true, "a", number(8), number(-1), "w"),
				rule(true, "b", nil, nil, "m"),
			}},
		},
	}
	disks := []Disk{
		{HostMajor: 8, HostMinor: 0, HostPath: "/dev/sda", Major: 254, Minor: 16, Path: "/run/a"},
		{HostMajor: 254, HostMinor: 0, HostPath: "/dev/vda", Major: 254, Minor: 0, Path: "/run/b"},
	}
	if err := translateDisks(spec, disks); err != nil {
		t.Fatal(err)
	}
	want := &specs.Linux{
		Devices: []specs.LinuxDevice{
			{Path: "/dev/a", Type: "b", Major: 254, Minor: 16}, {Path: "/dev/b", Type: "b", Major: 254, Minor: 0},
			{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229},
		},
		Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
			rule(false, "a", nil, nil, "rwm"), rule(true, "c", number(10), number(229), "rw"),
			rule(true, "b", number(254), number(16), "r"),
			rule(true, "b", number(254), number(0), "rw"),
			rule(true, "c", number(8), number(-1), "w"), rule(true, "b", number(254), number(16), "w"),
			rule(true, "b", number(254), number(16), "m"), rule(true, "b", number(254), number(0), "m"),
		}},
	}
	if diff := cmp.Diff(want, spec.Linux); diff != "" {
		t.Error(diff)
	}
	if spec.Mounts[0].Source != "/run/a" || spec.Mounts[1].Source != "/dev/null" {
		t.Errorf("mounts %+v", spec.Mounts)
	}
	unknown := &specs.Spec{Linux: &specs.Linux{Devices: []specs.LinuxDevice{{Path: "/dev/c", Type: "b", Major: 8, Minor: 1}}}}
	if err := translateDisks(unknown, disks); !errors.Is(err, ErrInvalid) {
		t.Errorf("a disk that was not plugged in: %v", err)
	}
}
