package bundle

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files")

// volumes makes files that configurations of these tests mount.
func volumes(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(
		os.Mkdir(at("data"), 0o755), os.Mkdir(at("more"), 0o755), os.WriteFile(at("resolv.conf"), nil, 0o644),
		unix.Mkfifo(at("fifo"), 0o600), unix.Mknod(at("sock"), unix.S_IFSOCK|0o600, 0),
	)
	if err != nil {
		t.Fatal(err)
	}
}

func TestPlanGolden(t *testing.T) {
	config, err := os.ReadFile("testdata/podman.json")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(write(t, config))
	if err != nil {
		t.Fatal(err)
	}
	volumes(t, b.Dir)
	// The network namespace is not looked at, only handed on.
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(b.Spec)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := b.Plan(GuestDirs{Share: "/run/runvm/shared/c1", SharedMemory: "/run/runvm/shm"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(string(data), b.Dir, "BUNDLE") + "\n"
	if *update {
		if err := os.WriteFile("testdata/podman.plan.json", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/podman.plan.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
	if after, err := json.Marshal(b.Spec); err != nil || string(after) != string(before) {
		t.Errorf("the bundle's own configuration changed: %v\n%s", err, cmp.Diff(string(before), string(after)))
	}
}

// planOf changes a minimal configuration and plans it. The bundle has the files of volumes.
func planOf(t *testing.T, change func(b *Bundle)) (*Plan, error) {
	t.Helper()
	b := load(t, minimal())
	volumes(t, b.Dir)
	change(b)
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
	return b.Plan(GuestDirs{Share: "/shared/c1", SharedMemory: "/shm"})
}

func TestPlanRefuses(t *testing.T) {
	mount := func(m specs.Mount) func(*Bundle) {
		return func(b *Bundle) { b.Spec.Mounts = []specs.Mount{m} }
	}
	bind := func(source, destination string) func(*Bundle) {
		return mount(specs.Mount{Source: source, Destination: destination, Options: []string{"rbind"}})
	}
	device := func(d specs.LinuxDevice) func(*Bundle) {
		return func(b *Bundle) { b.Spec.Linux.Devices = []specs.LinuxDevice{d} }
	}
	for name, c := range map[string]struct {
		change func(*Bundle)
		want   string
	}{
		"socket":  {bind("sock", "/s"), "cannot be shared with a VM yet"},
		"fifo":    {bind("fifo", "/f"), "cannot be shared with a VM yet"},
		"process": {bind("/proc/self", "/p"), "belongs to a process of the host"},
		"status":  {bind("/proc/1/status", "/p"), "belongs to a process of the host"},
		"overlay": {mount(specs.Mount{Type: "overlay", Destination: "/o"}), `has type "overlay"`},
		"ext4":    {mount(specs.Mount{Type: "ext4", Destination: "/o", Source: "/dev/x"}), `has type "ext4"`},
		"idmap": {mount(specs.Mount{
			Source: "data", Destination: "/d", Options: []string{"bind", "idmap"},
		}), "id-mapped"},
		"mapping": {mount(specs.Mount{
			Type: "bind", Source: "data", Destination: "/d", GIDMappings: []specs.LinuxIDMapping{{Size: 1}},
		}), "id-mapped"},
		"kvm": {
			device(specs.LinuxDevice{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232}), "device /dev/kvm (c 10:232)",
		},
		"odd device": {device(specs.LinuxDevice{Path: "/dev/x", Type: "q"}), `has type "q"`},
		"rdt":        {func(b *Bundle) { b.Spec.Linux.IntelRdt = &specs.LinuxIntelRdt{} }, "linux.intelRdt"},
		"listener": {func(b *Bundle) {
			b.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/run/x.sock"}
		}, "linux.seccomp.listenerPath /run/x.sock"},
		"net devices": {func(b *Bundle) {
			b.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {}}
		}, "linux.netDevices"},
		"hook": {func(b *Bundle) {
			b.Spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/hook"}}}
		}, "createContainer hook /bin/hook"},
		"mount namespace": {func(b *Bundle) {
			b.Spec.Linux.Namespaces[0].Path = "/proc/self/ns/mnt"
		}, "joining the mount namespace"},
		"user namespace": {func(b *Bundle) {
			l := b.Spec.Linux
			l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: filepath.Join(b.Dir, "data")})
		}, "joining the user namespace"},
		"cgroup namespace": {func(b *Bundle) {
			b.Spec.Linux.Namespaces[1] = specs.LinuxNamespace{Type: specs.CgroupNamespace, Path: filepath.Join(b.Dir, "data")}
		}, "joining the cgroup namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := planOf(t, c.change)
			wantError(t, err, c.want)
			if !errors.Is(err, ErrNotSupported) {
				t.Errorf("%v is not ErrNotSupported", err)
			}
		})
	}
}

func TestPlanMissingSource(t *testing.T) {
	_, err := planOf(t, func(b *Bundle) {
		b.Spec.Mounts = []specs.Mount{{Type: "bind", Source: "/nonexistent", Destination: "/x", Options: []string{"bind"}}}
	})
	// podman turns the last words into exit code 127.
	wantError(t, err, `error mounting "/nonexistent" to rootfs at "/x": stat /nonexistent: no such file or directory`)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v is not os.ErrNotExist", err)
	}
}

func TestPlanGuestOwnMounts(t *testing.T) {
	for source, want := range map[string]string{
		"/sys": "/sys", "/sys/kernel": "/sys/kernel", "/proc": "/proc", "/proc/sys": "/proc/sys", "/dev": "/dev",
		"/dev/null": "/dev/null", "/dev/zero": "/dev/zero", "/dev/pts": "/dev/pts", strings.Repeat("../", 40) + "dev/full": "/dev/full",
	} {
		plan, err := planOf(t, func(b *Bundle) {
			b.Spec.Mounts = []specs.Mount{{Source: source, Destination: "/x", Options: []string{"rbind", "ro"}}}
		})
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		mounts := []specs.Mount{{Type: "bind", Source: want, Destination: "/x", Options: []string{"rbind", "ro"}}}
		if diff := cmp.Diff(mounts, plan.Guest.Mounts); diff != "" || plan.Shares != nil {
			t.Errorf("%s: %s, shares %v", source, diff, plan.Shares)
		}
	}
}

func TestPlanShm(t *testing.T) {
	mount := specs.Mount{Source: "/dev/shm", Destination: "/dev/shm", Options: []string{"bind", "ro"}}
	plan, err := planOf(t, func(b *Bundle) { b.Spec.Mounts = []specs.Mount{mount} })
	if err != nil {
		t.Fatal(err)
	}
	m := plan.Guest.Mounts[0]
	if len(plan.SharedMemory) != 1 || plan.SharedMemory[0].Size == 0 || m.Type != "bind" ||
		m.Source != "/shm/"+plan.SharedMemory[0].ID || !lastOf(m.Options, "ro", "rw") || plan.Shares != nil {
		t.Errorf("mount %+v, shared memory %v, shares %v; want the guest's own tmpfs", m, plan.SharedMemory, plan.Shares)
	}
	// A directory of the user's stays a volume, whatever filesystem it is on.
	for source, destination := range map[string]string{"data": "/dev/shm", "/dev/shm": "/elsewhere"} {
		mount.Source, mount.Destination = source, destination
		plan, err = planOf(t, func(b *Bundle) { b.Spec.Mounts = []specs.Mount{mount} })
		if err != nil || len(plan.Shares) != 1 {
			t.Errorf("%s at %s: plan %+v, error %v; want a share", source, destination, plan, err)
		}
	}
}

func TestPlanRelativeDestination(t *testing.T) {
	plan, err := planOf(t, func(b *Bundle) {
		b.Spec.Mounts = []specs.Mount{{Type: "tmpfs", Destination: "a/../../b/"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Mountpoint{{Path: "/b", Dir: true}}, plan.Mountpoints); diff != "" {
		t.Error(diff)
	}
	if len(plan.Warnings) != 1 || !strings.Contains(plan.Warnings[0], "is not absolute") {
		t.Errorf("warnings = %q", plan.Warnings)
	}
}

func TestPlanNestedMounts(t *testing.T) {
	bind := func(destination string) specs.Mount {
		return specs.Mount{Source: "data", Destination: destination, Options: []string{"bind"}}
	}
	var dir string
	plan, err := planOf(t, func(b *Bundle) {
		dir = b.Dir
		b.Spec.Mounts = []specs.Mount{
			bind("/v"), bind("/v/in"), {Type: "tmpfs", Destination: "/v/tmp"}, bind("/v/tmp/a"), bind("/v/tmp/a/b"),
			bind("/vx"), {Type: "tmpfs", Destination: "/t"}, bind("/t"), bind("/t/x"),
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	volume := filepath.Join(dir, "data")
	want := []Mountpoint{
		{Path: "/v", Dir: true}, {Path: "/in", Dir: true, Volume: volume}, {Path: "/tmp", Dir: true, Volume: volume},
		{Path: "/vx", Dir: true}, {Path: "/t", Dir: true}, {Path: "/x", Dir: true, Volume: volume},
	}
	if diff := cmp.Diff(want, plan.Mountpoints); diff != "" {
		t.Error(diff)
	}
	var hidden []string
	for _, s := range plan.Shares {
		if s.Hidden {
			hidden = append(hidden, s.Destination)
		}
	}
	if diff := cmp.Diff([]string{"/v/tmp/a", "/v/tmp/a/b"}, hidden); diff != "" {
		t.Error(diff)
	}
}

func TestPlanNamespaces(t *testing.T) {
	plan, err := planOf(t, func(b *Bundle) {
		b.Spec.Linux.Namespaces = []specs.LinuxNamespace{
			{Type: "mount"}, {Type: "uts", Path: "/proc/self/ns/uts"}, {Type: "ipc", Path: "/proc/self/ns/ipc"}, {Type: "time"},
		}
		b.Spec.Hostname = "host"
		b.Spec.Linux.Sysctl = map[string]string{"kernel.sem": "1 2 3 4"}
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]specs.LinuxNamespace{{Type: "mount"}, {Type: "time"}, {Type: "cgroup"}}, plan.Guest.Linux.Namespaces); diff != "" {
		t.Error(diff)
	}
	if plan.NetNS != (NetNS{Host: true}) || plan.Guest.Hostname != "" || plan.GuestSysctls["kernel.sem"] == "" {
		t.Errorf("NetNS %+v, hostname %q, sysctls %v", plan.NetNS, plan.Guest.Hostname, plan.GuestSysctls)
	}
	plan, err = planOf(t, func(*Bundle) {})
	if err != nil || plan.NetNS != (NetNS{New: true}) {
		t.Errorf("plan %+v, error %v; want a new network namespace", plan, err)
	}
}

func TestPlanPrivilegedLeavesDevicesOut(t *testing.T) {
	plan, err := planOf(t, func(b *Bundle) {
		b.Spec.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
			{Allow: false, Access: "rwm"}, {Allow: true, Access: "rwm"},
		}}
		b.Spec.Linux.Devices = []specs.LinuxDevice{
			{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232}, {Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229},
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := plan.Guest.Linux.Devices; len(d) != 1 || d[0].Path != "/dev/fuse" {
		t.Errorf("devices = %+v", d)
	}
	if len(plan.Warnings) != 1 || !strings.Contains(plan.Warnings[0], "/dev/kvm") {
		t.Errorf("warnings = %q", plan.Warnings)
	}
}

func TestPlanCreateContainerHook(t *testing.T) {
	plan, err := planOf(t, func(b *Bundle) {
		if err := os.WriteFile(filepath.Join(b.Rootfs(), "hook"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		b.Spec.Hooks = &specs.Hooks{
			CreateContainer: []specs.Hook{{Path: "/hook"}}, StartContainer: []specs.Hook{{Path: "/start"}},
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &specs.Hooks{StartContainer: []specs.Hook{{Path: "/hook"}, {Path: "/start"}}}
	if diff := cmp.Diff(want, plan.Guest.Hooks); diff != "" {
		t.Error(diff)
	}
}

func TestSizing(t *testing.T) {
	quota, period, limit, none := int64(50_000), uint64(20_000), int64(1<<30), int64(-1)
	for _, c := range []struct {
		resources *specs.LinuxResources
		want      Sizing
	}{
		{nil, Sizing{}},
		{&specs.LinuxResources{}, Sizing{}},
		{&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota}}, Sizing{CPUs: 0.5}},
		{&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota, Period: &period, Cpus: "0-7"}}, Sizing{CPUs: 2.5}},
		{&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &none, Cpus: "0-2, 8"}}, Sizing{CPUs: 4}},
		{&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "3-1"}}, Sizing{}},
		{&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0-99999999999"}}, Sizing{}},
		{&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}, Sizing{MemoryBytes: 1 << 30}},
		{&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &none}}, Sizing{}},
	} {
		if got := sizing(c.resources); got != c.want {
			t.Errorf("sizing = %+v, want %+v", got, c.want)
		}
	}
}
