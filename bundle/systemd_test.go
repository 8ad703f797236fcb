package bundle

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestPlanSystemd: what podman --systemd mounts on a host with cgroup v1 becomes a writable cgroup v2.
func TestPlanSystemd(t *testing.T) {
	cgroup := specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "ro"}}
	for name, tc := range map[string]struct {
		bind specs.Mount
		want []string
	}{
		"writable":  {specs.Mount{Type: "bind", Source: systemdCgroup, Destination: systemdCgroup, Options: []string{"bind"}}, []string{"nosuid", "rw"}},
		"read-only": {specs.Mount{Type: "bind", Source: systemdCgroup + "/x", Destination: systemdCgroup, Options: []string{"bind", "ro"}}, []string{"nosuid", "ro"}},
	} {
		plan, err := planOf(t, func(b *Bundle) { b.Spec.Mounts = []specs.Mount{cgroup, tc.bind} })
		if err != nil {
			t.Fatal(err)
		}
		want := cgroup
		want.Options = tc.want
		if diff := cmp.Diff([]specs.Mount{want}, plan.Guest.Mounts); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
