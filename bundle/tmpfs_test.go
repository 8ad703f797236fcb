package bundle

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestPlanTmpfsMode: the mode is runc's, whether the mount point was there or not.
func TestPlanTmpfsMode(t *testing.T) {
	const mode = "mode=1777"
	for name, tc := range map[string]struct {
		mounts []specs.Mount // the last one counts
		want   bool
	}{
		"missing":               {[]specs.Mount{{Type: "tmpfs", Destination: "/new"}}, true},
		"there":                 {[]specs.Mount{{Type: "tmpfs", Destination: "/there"}}, false},
		"link to what is there": {[]specs.Mount{{Type: "tmpfs", Destination: "/link"}}, false},
		"given":                 {[]specs.Mount{{Type: "tmpfs", Destination: "/new", Options: []string{"mode=700"}}}, false},
		"no tmpfs":              {[]specs.Mount{{Type: "mqueue", Destination: "/new"}}, false},
		"missing in a volume": {[]specs.Mount{
			{Source: "data", Destination: "/v", Options: []string{"bind"}}, {Type: "tmpfs", Destination: "/v/new"},
		}, true},
		"there in a volume": {[]specs.Mount{
			{Source: "data", Destination: "/v", Options: []string{"bind"}}, {Type: "tmpfs", Destination: "/v/there"},
		}, false},
		"in a tmpfs": {[]specs.Mount{
			{Type: "tmpfs", Destination: "/there"}, {Type: "tmpfs", Destination: "/there/new"},
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := planOf(t, func(b *Bundle) {
				for _, dir := range []string{filepath.Join(b.Rootfs(), "there"), filepath.Join(b.Dir, "data", "there")} {
					if err := os.MkdirAll(dir, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				// Absolute as seen in the container: it must not lead to the host's root.
				if err := os.Symlink("/there", filepath.Join(b.Rootfs(), "link")); err != nil {
					t.Fatal(err)
				}
				b.Spec.Mounts = tc.mounts
			})
			if err != nil {
				t.Fatal(err)
			}
			options := plan.Guest.Mounts[len(tc.mounts)-1].Options
			if got := slices.Contains(options, mode); got != tc.want {
				t.Errorf("options %q; want %s: %v", options, mode, tc.want)
			}
		})
	}
}
