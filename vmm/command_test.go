package vmm

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares arguments with testdata/NAME.args, one argument per line.
func golden(t *testing.T, name string, args []string) {
	t.Helper()
	path := filepath.Join("testdata", name+".args")
	got := strings.Join(args, "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("arguments differ from %s (go test ./vmm -update rewrites it):\n%s", path, diff)
	}
}

// named makes an open file whose name is all that a test looks at.
func named(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func files(t *testing.T, names ...string) []*os.File {
	t.Helper()
	var out []*os.File
	for _, n := range names {
		out = append(out, named(t, n))
	}
	return out
}

func tapNIC(t *testing.T, id, mac string) NIC {
	return NIC{ID: id, MAC: mac, MTU: 1500, TapFDs: files(t, id+"-tap")}
}

// tcgSerial is the machine of a host without hardware virtualisation.
func tcgSerial(t *testing.T) Config {
	return Config{
		Name: "sandbox1", Accel: TCG, CPUs: 1, MemoryMiB: 512, SharedMemory: true,
		Kernel: "/usr/lib/runvm/vmlinux", Initrd: "/usr/lib/runvm/initramfs", Cmdline: "console=ttyS0 quiet",
		QMP: named(t, "qmp"), Console: named(t, "console"),
		Agent: AgentChannel{Serial: named(t, "agent"), PortName: "runvm.agent"},
		Share: &Share{Type: ShareVirtiofs, Tag: "runvm", Path: "/vm/share.sock"},
	}
}

// kvmVsock is the machine of a host that has everything.
func kvmVsock(t *testing.T) Config {
	c := tcgSerial(t)
	c.Accel, c.CPUs, c.MaxCPUs = KVM, 2, 4
	c.Agent = AgentChannel{VsockCID: 4711, VhostVsock: named(t, "vsock")}
	return c
}

// commands are the machines with golden files, by file name.
func commands(t *testing.T) map[string]Config {
	m := map[string]Config{"kvm-vsock-virtiofs": kvmVsock(t), "tcg-serial-virtiofs-nics0": tcgSerial(t)}

	c := tcgSerial(t)
	c.Accel = KVM
	c.NICs = []NIC{{
		ID: "nic0", MAC: "02:00:00:00:00:01", MTU: 9000, Queues: 2,
		TapFDs: files(t, "tap0", "tap1"), VhostFDs: files(t, "vhost0", "vhost1"),
	}}
	m["kvm-serial-virtiofs-vhost-net-2queues"] = c

	macs := []string{"02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"}
	for i, name := range []string{"tcg-serial-virtiofs-nics1", "tcg-serial-virtiofs-nics2", "tcg-serial-virtiofs-nics3"} {
		c := tcgSerial(t)
		for n := range i + 1 {
			c.NICs = append(c.NICs, tapNIC(t, "nic"+string(rune('0'+n)), macs[n]))
		}
		m[name] = c
	}

	c = tcgSerial(t)
	c.SharedMemory, c.Share = false, &Share{Type: Share9P, Tag: "runvm", Path: "/shared"}
	m["tcg-serial-9p"] = c

	c = tcgSerial(t)
	c.HotplugPorts, c.TBSizeMiB = 4, 64
	c.NICs = []NIC{tapNIC(t, "nic0", "02:00:00:00:00:01")}
	c.NICs[0].Port = PortID(3)
	m["tcg-hotplug-ports-tb-size"] = c

	c = tcgSerial(t)
	c.Disks = []Disk{
		{ID: "disk0", File: named(t, "disk0"), Serial: "volume-0"},
		{ID: "disk1", File: named(t, "disk1"), ReadOnly: true, Block: true},
		{ID: "disk2", Path: "/disks/a,b.img", ReadOnly: true, Format: "raw"},
	}
	m["tcg-disks"] = c

	c = tcgSerial(t)
	c.Name = "a,b=c d,,-sandbox off"
	c.Kernel, c.Initrd, c.Cmdline = "/k,x=1/vm linux", "/i,x=1/init ramfs", "a=b,c d"
	c.Agent.PortName = "port,nr=2"
	c.Share = &Share{Type: ShareVirtiofs, Tag: "tag,x=y", Path: "/v,server=on/share sock"}
	m["tcg-commas-virtiofs"] = c

	c.SharedMemory, c.Share = false, &Share{Type: Share9P, Tag: "tag,x=y", Path: "/s,readonly=on/a b"}
	m["tcg-commas-9p"] = c

	c = tcgSerial(t)
	c.MemoryFile, c.Share, c.HotplugPorts, c.Agent.Listening = MemoryPath, nil, 6, true
	m["tcg-template"] = c

	c.Agent.Listening, c.Incoming = false, true
	m["tcg-clone"] = c

	m["tcg-bare"] = Config{Accel: TCG, CPUs: 1, MemoryMiB: 128, Kernel: "/vmlinux"}
	return m
}

func TestCommandGolden(t *testing.T) {
	for name, c := range commands(t) {
		t.Run(name, func(t *testing.T) {
			args, _, err := c.Command()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, args)
		})
	}
}

// TestCommandFiles checks that the numbers on the command line are those of the files.
func TestCommandFiles(t *testing.T) {
	c := commands(t)["kvm-serial-virtiofs-vhost-net-2queues"]
	args, got, err := c.Command()
	if err != nil {
		t.Fatal(err)
	}
	n := c.NICs[0]
	want := []*os.File{c.QMP, c.Console, c.Agent.Serial, n.TapFDs[0], n.TapFDs[1], n.VhostFDs[0], n.VhostFDs[1]}
	if len(got) != len(want) {
		t.Fatalf("%d files, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("descriptor %d is %s, want %s", firstFD+i, got[i].Name(), want[i].Name())
		}
	}
	for _, part := range []string{"id=qmp,fd=3,", "id=console,fd=4", "id=agent,fd=5", ",fds=6:7,", ",vhostfds=8:9"} {
		if !strings.Contains(strings.Join(args, "\n"), part) {
			t.Errorf("no %q in the arguments", part)
		}
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain": "plain", "a b=c": "a b=c", "a,b": "a,,b", ",,": ",,,,",
		"/dir,x=1/with space,": "/dir,,x=1/with space,,",
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzEscape reads an option back as QEMU does (get_opt_value in util/qemu-option.c) and compares.
func FuzzEscape(f *testing.F) {
	f.Add("a,b", "c")
	f.Add(",", ",,")
	f.Fuzz(func(t *testing.T, first, second string) {
		if first == "" || second == "" {
			return
		}
		got := parseOptions(options("", "a", first, "b", second))
		if diff := cmp.Diff([]string{"a=" + first, "b=" + second}, got); diff != "" {
			t.Error(diff)
		}
	})
}

// parseOptions splits at single commas.
func parseOptions(s string) []string {
	var out []string
	var word strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == ',' {
			if i+1 == len(s) || s[i+1] != ',' {
				out = append(out, word.String())
				word.Reset()
				continue
			}
			i++
		}
		word.WriteByte(s[i])
	}
	return append(out, word.String())
}

func TestCommandRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"accelerator":    func(c *Config) { c.Accel = "xen" },
		"no CPUs":        func(c *Config) { c.CPUs = 0 },
		"max CPUs":       func(c *Config) { c.CPUs, c.MaxCPUs = 4, 2 },
		"no memory":      func(c *Config) { c.MemoryMiB = 0 },
		"tb-size":        func(c *Config) { c.TBSizeMiB = -1 },
		"ports":          func(c *Config) { c.HotplugPorts = 25 },
		"no kernel":      func(c *Config) { c.Kernel = "" },
		"NUL":            func(c *Config) { c.Cmdline = "a\x00b" },
		"two channels":   func(c *Config) { c.Agent.VhostVsock, c.Agent.VsockCID = c.QMP, 3 },
		"port name":      func(c *Config) { c.Agent.PortName = "" },
		"long port name": func(c *Config) { c.Agent.PortName = strings.Repeat("x", 32) },
		"host CID":       func(c *Config) { c.Agent = AgentChannel{VhostVsock: c.QMP, VsockCID: 2} },
		"share type":     func(c *Config) { c.Share.Type = "nfs" },
		"share tag":      func(c *Config) { c.Share.Tag = strings.Repeat("x", 37) },
		"share path":     func(c *Config) { c.Share.Path = "" },
		"private memory": func(c *Config) { c.SharedMemory = false },
		"NIC id":         func(c *Config) { c.NICs[0].ID = "0,x" },
		"empty NIC id":   func(c *Config) { c.NICs[0].ID = "" },
		"MAC":            func(c *Config) { c.NICs[0].MAC = "02:00:00:00:00:01,x=y" },
		"long MAC":       func(c *Config) { c.NICs[0].MAC = "02:00:00:00:00:01:02:03" },
		"MTU":            func(c *Config) { c.NICs[0].MTU = 65536 },
		"no tap":         func(c *Config) { c.NICs[0].TapFDs = nil },
		"queues":         func(c *Config) { c.NICs[0].Queues = 2 },
		"vhost":          func(c *Config) { c.NICs[0].VhostFDs = []*os.File{c.QMP, c.QMP} },
		"same id":        func(c *Config) { c.NICs = append(c.NICs, c.NICs[0]) },
		"disk id":        func(c *Config) { c.Disks = []Disk{{ID: "-", Path: "/d"}} },
		"disk format":    func(c *Config) { c.Disks = []Disk{{ID: "d", Path: "/d", Format: "qcow2"}} },
		"disk without":   func(c *Config) { c.Disks = []Disk{{ID: "d"}} },
		"disk with both": func(c *Config) { c.Disks = []Disk{{ID: "d", Path: "/d", File: c.QMP}} },
		"disk serial":    func(c *Config) { c.Disks = []Disk{{ID: "d", Path: "/d", Serial: strings.Repeat("x", 21)}} },
	} {
		t.Run(name, func(t *testing.T) {
			c := tcgSerial(t)
			c.NICs = []NIC{tapNIC(t, "nic0", "02:00:00:00:00:01")}
			spoil(&c)
			if _, _, err := c.Command(); !errors.Is(err, ErrInvalidConfig) {
				t.Errorf("got error %v, want one that wraps ErrInvalidConfig", err)
			}
		})
	}
}
