package bundle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestValidate(t *testing.T) {
	namespace := func(n ...specs.LinuxNamespace) func(*specs.Spec) {
		return func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, n...) }
	}
	for _, c := range []struct {
		name   string
		change func(*specs.Spec)
		want   string
	}{
		{"minimal", func(*specs.Spec) {}, ""},
		{"newer minor", func(s *specs.Spec) { s.Version = "1.99.0" }, ""},
		{"development version", func(s *specs.Spec) { s.Version = "1.2.1+dev" }, ""},
		{"other major", func(s *specs.Spec) { s.Version = "2.0.0" }, `ociVersion "2.0.0" is not supported`},
		{"no version", func(s *specs.Spec) { s.Version = "" }, `ociVersion "" is not supported`},
		{"no root", func(s *specs.Spec) { s.Root = nil }, "root must be specified"},
		{"empty root", func(s *specs.Spec) { s.Root.Path = "" }, "root.path must not be empty"},
		{"missing root", func(s *specs.Spec) { s.Root.Path = "/nonexistent" },
			"invalid rootfs: stat /nonexistent: no such file or directory"},
		{"file as root", func(s *specs.Spec) { s.Root.Path = configName }, "not a directory"},
		{"no linux", func(s *specs.Spec) { s.Linux = nil }, "linux must be specified"},
		{"vm", func(s *specs.Spec) { s.VM = &specs.VM{} }, "the vm section of config.json is not supported"},
		{"unknown namespace", namespace(specs.LinuxNamespace{Type: "foo"}), `namespace {"foo" ""} does not exist`},
		{"namespace twice", namespace(specs.LinuxNamespace{Type: "pid"}), `duplicated ns {"pid" ""}`},
		{"user without mapping", namespace(specs.LinuxNamespace{Type: "user"}), "nor mappings to apply"},
		{"mapping without user", func(s *specs.Spec) {
			s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1}}
		}, "user namespace isn't enabled"},
		{"hostname", func(s *specs.Spec) { s.Hostname = "x" }, "unable to set hostname without a private UTS namespace"},
		{"domainname", func(s *specs.Spec) { s.Domainname = "x" }, "unable to set domainname"},
		{"masked paths", func(s *specs.Spec) {
			s.Linux.Namespaces, s.Linux.MaskedPaths = nil, []string{"/proc/kcore"}
		}, "unable to restrict sys entries without a private MNT namespace"},
		{"propagation", func(s *specs.Spec) { s.Linux.RootfsPropagation = "foo" }, "rootfsPropagation=foo is not supported"},
		{"time offsets", func(s *specs.Spec) {
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1}}
		}, "time namespace isn't enabled"},
		{"mount without destination", func(s *specs.Spec) { s.Mounts = []specs.Mount{{Type: "tmpfs"}} },
			"destination must not be empty"},
		{"null byte", func(s *specs.Spec) { s.Mounts = []specs.Mount{{Destination: "/a\x00b", Type: "tmpfs"}} },
			"mount field contains null byte"},
		{"relative hook", func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "x"}}} },
			`hook path "x" is not absolute`},
		{"long hostname", func(s *specs.Spec) { s.Hostname = strings.Repeat("x", 65) }, "without a private UTS"},
		{"long hostname of its own", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: "uts"})
			s.Hostname = strings.Repeat("x", 65)
		}, "at most 64 bytes"},
		{"rlimit", func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_FOO"}} },
			"wrong rlimit value: RLIMIT_FOO"},
		{"rlimit twice", func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU"}, {Type: "RLIMIT_CPU"}}
		}, "RLIMIT_CPU is given twice"},
		{"soft rlimit", func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_AS", Soft: 2, Hard: 1}} },
			"exceeds the hard one"},
		{"every rlimit", func(s *specs.Spec) {
			for name := range rlimits {
				s.Process.Rlimits = append(s.Process.Rlimits, specs.POSIXRlimit{Type: name, Soft: 1, Hard: 1})
			}
		}, ""},
		{"seccomp action", func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_FOO"} },
			"string SCMP_ACT_FOO is not a valid action for seccomp"},
		{"seccomp operator", func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				{Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "?"}}},
			}}
		}, "string ? is not a valid operator for seccomp"},
		{"hostname sysctl", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: "uts"})
			s.Linux.Sysctl = map[string]string{"kernel/hostname": "x"}
		}, "conflicts with the OCI \"hostname\" field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := load(t, minimal())
			c.change(b.Spec)
			wantError(t, b.Validate(), c.want)
		})
	}
}

func TestValidateLinkedRoot(t *testing.T) {
	b := load(t, minimal())
	if err := os.Symlink("rootfs", filepath.Join(b.Dir, "link")); err != nil {
		t.Fatal(err)
	}
	b.Spec.Root.Path = "link"
	wantError(t, b.Validate(), "invalid rootfs: not an absolute path, or a symlink")
}

func TestSysctlNames(t *testing.T) {
	for name, valid := range map[string]bool{
		"net.ipv4.ip_forward": true, "net/ipv4/conf/eth0.1/forwarding": true, "kernel.sem": true,
		"": false, "kernel": false, "net..x": false, "net/../../etc/passwd": false, ".net.x": false, "net.x/": false,
		"a.b\x00": false,
	} {
		s := minimal()
		s.Linux.Sysctl = map[string]string{name: "1"}
		if err := checkSysctls(s); (err == nil) != valid {
			t.Errorf("sysctl %q: %v, want valid = %v", name, err, valid)
		}
	}
	if got := dotted("net/ipv4/conf/eth0.1/forwarding"); got != "net.ipv4.conf.eth0/1.forwarding" {
		t.Errorf("dotted = %q", got)
	}
}
