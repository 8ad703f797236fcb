package bundle

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestPlanJoins: the guest's configuration has what is shared with other containers as new namespaces, the plan has the
// paths.
func TestPlanJoins(t *testing.T) {
	var path string
	plan, err := planOf(t, func(b *Bundle) {
		path = filepath.Join(b.Dir, "data")
		l := b.Spec.Linux
		l.Namespaces = []specs.LinuxNamespace{
			{Type: "mount"}, {Type: "network", Path: path}, {Type: "ipc", Path: path}, {Type: "uts", Path: path},
			{Type: "pid", Path: path}, {Type: "user", Path: "/proc/self/ns/user"}, {Type: "cgroup"},
		}
		l.UIDMappings = []specs.LinuxIDMapping{{HostID: 1000, Size: 1}}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[specs.LinuxNamespaceType]string{"ipc": path, "uts": path, "pid": path, "user": "/proc/self/ns/user"}
	if diff := cmp.Diff(want, plan.Join); diff != "" {
		t.Error(diff)
	}
	guest := []specs.LinuxNamespace{{Type: "mount"}, {Type: "ipc"}, {Type: "uts"}, {Type: "pid"}, {Type: "user"}, {Type: "cgroup"}}
	if diff := cmp.Diff(guest, plan.Guest.Linux.Namespaces); diff != "" {
		t.Error(diff)
	}
	if len(plan.Guest.Linux.UIDMappings) != 1 || plan.NetNS.Path != path {
		t.Errorf("mappings %v, network %+v", plan.Guest.Linux.UIDMappings, plan.NetNS)
	}
}

// TestIsolateNetwork: the network's sysctls go where the network goes.
func TestIsolateNetwork(t *testing.T) {
	plan, err := planOf(t, func(b *Bundle) {
		b.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "net/core/somaxconn": "5", "vm.swappiness": "1"}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.GuestSysctls) != 3 || findNamespace(plan.Guest.Linux.Namespaces, specs.NetworkNamespace) != nil {
		t.Fatalf("before: sysctls %v, namespaces %v", plan.GuestSysctls, plan.Guest.Linux.Namespaces)
	}
	plan.IsolateNetwork()
	want := map[string]string{"net.ipv4.ip_forward": "1", "net/core/somaxconn": "5"}
	if diff := cmp.Diff(want, plan.Guest.Linux.Sysctl); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"vm.swappiness": "1"}, plan.GuestSysctls); diff != "" {
		t.Error(diff)
	}
	if findNamespace(plan.Guest.Linux.Namespaces, specs.NetworkNamespace) == nil {
		t.Error("no network namespace")
	}
}
