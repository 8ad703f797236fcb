package bundle

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func deviceRule(allow bool, kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
	return specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Major: &major, Minor: &minor, Access: access}
}

func TestBlockAccess(t *testing.T) {
	denyAll := specs.LinuxDeviceCgroup{Access: "rwm"}
	for name, tc := range map[string]struct {
		rules []specs.LinuxDeviceCgroup
		want  string
	}{
		"none":         {nil, ""},
		"read only":    {[]specs.LinuxDeviceCgroup{denyAll, deviceRule(true, "b", 8, 1, "r")}, "r"},
		"sum":          {[]specs.LinuxDeviceCgroup{denyAll, deviceRule(true, "b", 8, 1, "r"), deviceRule(true, "b", 8, -1, "wm")}, "rwm"},
		"taken away":   {[]specs.LinuxDeviceCgroup{deviceRule(true, "b", 8, 1, ""), deviceRule(false, "b", 8, 1, "w")}, "rm"},
		"other device": {[]specs.LinuxDeviceCgroup{deviceRule(true, "b", 8, 2, "rwm"), deviceRule(true, "c", 8, 1, "rwm")}, ""},
		"all kinds":    {[]specs.LinuxDeviceCgroup{deviceRule(true, "a", -1, -1, "rw")}, "rw"},
		"privileged":   {[]specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}, "rwm"},
		"denied again": {[]specs.LinuxDeviceCgroup{deviceRule(true, "b", 8, 1, "rwm"), denyAll}, ""},
	} {
		if got := blockAccess(&specs.LinuxResources{Devices: tc.rules}, 8, 1); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	if got := blockAccess(nil, 8, 1); got != "" {
		t.Errorf("without resources: %q", got)
	}
}

// TestPlanDisks: a device counts once, however often it is listed, and its rules say whether it may be written.
func TestPlanDisks(t *testing.T) {
	plan, err := planOf(t, func(b *Bundle) {
		b.Spec.Linux.Devices = []specs.LinuxDevice{
			{Path: "/dev/a", Type: "b", Major: 8, Minor: 1}, {Path: "/dev/b", Type: "b", Major: 8, Minor: 1},
			{Path: "/dev/c", Type: "b", Major: 8, Minor: 2},
		}
		b.Spec.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
			deviceRule(true, "b", 8, 1, "rwm"), deviceRule(true, "b", 8, 2, "r"),
		}}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Disk{{Major: 8, Minor: 1, Mode: 0o600}, {Major: 8, Minor: 2, ReadOnly: true, Mode: 0o600}}
	if diff := cmp.Diff(want, plan.Disks); diff != "" {
		t.Error(diff)
	}
	if n := len(plan.Guest.Linux.Devices); n != 3 {
		t.Errorf("%d devices, want 3", n)
	}
}

// TestIsAskedFor: of a privileged container's devices only those count that are not just the host's.
func TestIsAskedFor(t *testing.T) {
	host := func(path string) (major, minor int64, ok bool) { return 8, 0, path == "/dev/sda" }
	device := func(path string, minor int64) specs.LinuxDevice {
		return specs.LinuxDevice{Path: path, Type: "b", Major: 8, Minor: minor}
	}
	everything := []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	for name, tc := range map[string]struct {
		device specs.LinuxDevice
		rules  []specs.LinuxDeviceCgroup
		want   bool
	}{
		"the host's":        {device("/dev/sda", 0), everything, false},
		"another name":      {device("/dev/xvda", 0), everything, true},
		"another device":    {device("/dev/sda", 1), everything, true},
		"a rule of its own": {device("/dev/sda", 0), append(everything, deviceRule(true, "b", 8, 0, "r")), true},
		"a wider rule":      {device("/dev/sda", 0), append(everything, deviceRule(true, "b", 8, -1, "r")), false},
	} {
		if got := isAskedFor(tc.device, tc.rules, host); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
