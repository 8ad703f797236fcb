package executor

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const processJSON = `{
	"terminal": true, "consoleSize": {"height": 24, "width": 80},
	"user": {"uid": 1000, "gid": 100, "additionalGids": [7, 8]},
	"args": ["sh", "-c", "true"], "env": ["A=b"], "cwd": "/work",
	"capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_CHOWN"], "ambient": ["CAP_SETUID"]},
	"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
	"noNewPrivileges": true, "execCPUAffinity": {"initial": "0-1"},
	"ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 3}
}`

func TestNewProcess(t *testing.T) {
	var p specs.Process
	if err := json.Unmarshal([]byte(processJSON), &p); err != nil {
		t.Fatal(err)
	}
	got, err := newProcess(&p)
	if err != nil {
		t.Fatal(err)
	}
	affinity, err := configs.ConvertCPUAffinity(&specs.CPUAffinity{Initial: "0-1"})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	want := &libcontainer.Process{
		Args: []string{"sh", "-c", "true"}, Env: []string{"A=b"}, Cwd: "/work",
		UID: 1000, GID: 100, AdditionalGroups: []int{7, 8},
		ConsoleHeight: 24, ConsoleWidth: 80,
		Capabilities: &configs.Capabilities{
			Bounding: []string{"CAP_KILL"}, Effective: []string{"CAP_CHOWN"}, Ambient: []string{"CAP_SETUID"},
		},
		Rlimits:         []configs.Rlimit{{Type: unix.RLIMIT_NOFILE, Soft: 10, Hard: 20}},
		NoNewPrivileges: &yes, CPUAffinity: affinity, LogLevel: logLevel,
		IOPriority: &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE, Priority: 3},
	}
	if diff := cmp.Diff(want, got, cmp.FilterPath(unexported, cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
	p.Rlimits[0].Type = "RLIMIT_NONESUCH"
	if _, err := newProcess(&p); err == nil || err.Error() != "wrong rlimit value: RLIMIT_NONESUCH" {
		t.Errorf("err %v", err)
	}
}

// unexported leaves out libcontainer's own fields.
func unexported(p cmp.Path) bool {
	field, ok := p.Last().(cmp.StructField)
	return ok && field.Name()[0] >= 'a'
}

func validSpec() *specs.Spec {
	return &specs.Spec{
		Root:    &specs.Root{Path: "/run/runvm/shared/c/rootfs"},
		Process: &specs.Process{Args: []string{"true"}, Cwd: "/", ApparmorProfile: "docker-default", SelinuxLabel: "a:b:c:d"},
		Linux:   &specs.Linux{CgroupsPath: "system.slice:docker:c", MountLabel: "a:b:c:d"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "ro"}},
		},
		Hooks: &specs.Hooks{
			CreateRuntime:   []specs.Hook{{Path: "/host"}},
			CreateContainer: []specs.Hook{{Path: "/guest"}},
			StartContainer:  []specs.Hook{{Path: "/guest"}},
			Poststop:        []specs.Hook{{Path: "/host"}},
		},
	}
}

func TestPrepare(t *testing.T) {
	spec := validSpec()
	if err := prepare(spec, "c"); err != nil {
		t.Fatal(err)
	}
	if spec.Linux.CgroupsPath != "/c" {
		t.Errorf("cgroup %q", spec.Linux.CgroupsPath)
	}
	want := &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/guest"}}, StartContainer: []specs.Hook{{Path: "/guest"}}}
	if diff := cmp.Diff(want, spec.Hooks); diff != "" {
		t.Error(diff)
	}
	if spec.Mounts[1].Type != "sysfs" {
		t.Errorf("without a user namespace /sys became %+v", spec.Mounts[1])
	}
}

func TestPrepareUserNamespace(t *testing.T) {
	spec := validSpec()
	spec.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.UserNamespace}}
	if err := prepare(spec, "c"); err != nil {
		t.Fatal(err)
	}
	want := specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "nosuid", "ro"}}
	if diff := cmp.Diff(want, spec.Mounts[1]); diff != "" {
		t.Error(diff)
	}
}

func TestPrepareRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*specs.Spec){
		"no process":    func(s *specs.Spec) { s.Process = nil },
		"no root":       func(s *specs.Spec) { s.Root = nil },
		"relative root": func(s *specs.Spec) { s.Root.Path = "rootfs" },
		"no linux":      func(s *specs.Spec) { s.Linux = nil },
		"no args":       func(s *specs.Spec) { s.Process.Args = nil },
		"no cwd":        func(s *specs.Spec) { s.Process.Cwd = "" },
		"relative cwd":  func(s *specs.Spec) { s.Process.Cwd = "x" },
	} {
		spec := validSpec()
		spoil(spec)
		if err := prepare(spec, "c"); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMerge(t *testing.T) {
	old := cgroups.Resources{
		Memory: 100, MemorySwap: 200, CpuQuota: 5, CpuPeriod: 10, CpuShares: 1024, CpusetCpus: "0",
		BlkioThrottleReadBpsDevice: []*cgroups.ThrottleDevice{cgroups.NewThrottleDevice(8, 0, 1)},
	}
	for name, test := range map[string]struct {
		update string
		want   func(*cgroups.Resources)
	}{
		"nothing":            {`{}`, func(r *cgroups.Resources) { r.CpusetCpus = "" }},
		"memory":             {`{"memory":{"limit":50}}`, func(r *cgroups.Resources) { r.Memory, r.CpusetCpus = 50, "" }},
		"no limit":           {`{"memory":{"limit":-1}}`, func(r *cgroups.Resources) { r.Memory, r.MemorySwap, r.CpusetCpus = -1, 0, "" }},
		"quota alone":        {`{"cpu":{"quota":7}}`, func(r *cgroups.Resources) { r.CpuQuota, r.CpusetCpus = 7, "" }},
		"period alone":       {`{"cpu":{"period":20}}`, func(r *cgroups.Resources) { r.CpuPeriod, r.CpusetCpus = 20, "" }},
		"cpus":               {`{"cpu":{"quota":1,"period":2,"cpus":"1"}}`, func(r *cgroups.Resources) { r.CpuQuota, r.CpuPeriod, r.CpusetCpus = 1, 2, "1" }},
		"shares":             {`{"cpu":{"shares":2,"quota":5,"period":10}}`, func(r *cgroups.Resources) { r.CpuShares, r.CpuWeight, r.CpusetCpus = 2, 1, "" }},
		"throttle of a disk": {`{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":9}]}}`, func(r *cgroups.Resources) { r.BlkioThrottleReadBpsDevice[0].Rate, r.CpusetCpus = 9, "" }},
	} {
		var update specs.LinuxResources
		if err := json.Unmarshal([]byte(test.update), &update); err != nil {
			t.Fatal(err)
		}
		got, want := old, old
		want.BlkioThrottleReadBpsDevice = []*cgroups.ThrottleDevice{cgroups.NewThrottleDevice(8, 0, 1)}
		want.SkipDevices = true
		merge(&got, &update)
		test.want(&want)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(cgroups.ThrottleDevice{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if old.BlkioThrottleReadBpsDevice[0].Rate != 1 {
			t.Fatalf("%s: the old limits were changed", name)
		}
	}
}

func FuzzSpec(f *testing.F) {
	valid, _ := json.Marshal(validSpec())
	f.Add(valid)
	f.Add([]byte(`{"process":{},"root":{"path":"/"},"linux":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var spec specs.Spec
		if json.Unmarshal(b, &spec) != nil || prepare(&spec, "c") != nil {
			return
		}
		if spec.Linux.CgroupsPath != "/c" || spec.Hooks != nil && spec.Hooks.CreateRuntime != nil {
			t.Errorf("%s was prepared to %+v", b, spec)
		}
		_, _ = newProcess(spec.Process)
	})
}
