package boot

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/guest/modlist"
)

func TestParseCmdline(t *testing.T) {
	for line, want := range map[string]Config{
		"console=hvc0 quiet runvm.transport=serial runvm.modules=serial,virtiofs,net": {
			Transport: Serial, Modules: []string{"serial", "virtiofs", "net"},
		},
		"runvm.transport=vsock runvm.port=4294967295\n":   {Transport: Vsock, Port: 1<<32 - 1},
		"runvm.transport=vsock runvm.transport=serial":    {Transport: Serial},
		"runvm.transport=serial runvm.modules= -- single": {Transport: Serial, Modules: []string{}},
	} {
		got, err := ParseCmdline(line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
	for _, line := range []string{
		"", "quiet", "runvm.transport=", "runvm.transport=tcp", "runvm.transport=vsock",
		"runvm.transport=vsock runvm.port=0", "runvm.transport=vsock runvm.port=x",
		"runvm.transport=serial runvm.nonesuch=1",
	} {
		if _, err := ParseCmdline(line); err == nil {
			t.Errorf("%q was accepted", line)
		}
	}
}

func FuzzParseCmdline(f *testing.F) {
	f.Add("console=hvc0 runvm.transport=serial runvm.modules=a,b")
	f.Add("runvm.transport=vsock runvm.port=99999999999")
	f.Fuzz(func(t *testing.T, line string) {
		c, err := ParseCmdline(line)
		if err == nil && c.check() != nil {
			t.Errorf("%q gives an unusable %+v", line, c)
		}
	})
}

var list = modlist.Modules{
	Groups: map[string][]string{
		"serial": {"virtio_ring.ko", "virtio.ko", "virtio_pci.ko"},
		"net":    {"virtio_ring.ko", "virtio.ko", "virtio_net.ko"},
	},
	OnDemand: map[string][]string{"overlay": {"libcrc.ko", "overlay.ko"}},
	Aliases:  map[string]string{"fs-overlay": "overlay"},
}

// recorder is a loader that notes what it is asked to load.
func recorder(failOn string) (*[]string, loader) {
	var loaded []string
	return &loaded, func(path string) error {
		if filepath.Dir(path) != moduleDir {
			return errors.New("outside of the modules' folder: " + path)
		}
		if filepath.Base(path) == failOn {
			return unix.ENOEXEC
		}
		loaded = append(loaded, filepath.Base(path))
		return nil
	}
}

func TestLoadGroups(t *testing.T) {
	loaded, load := recorder("")
	if err := loadGroups(list, []string{"serial", "builtin", "net"}, load); err != nil {
		t.Fatal(err)
	}
	want := []string{"virtio_ring.ko", "virtio.ko", "virtio_pci.ko", "virtio_net.ko"}
	if diff := cmp.Diff(want, *loaded); diff != "" {
		t.Error(diff)
	}
	_, load = recorder("virtio.ko")
	if err := loadGroups(list, []string{"net"}, load); !errors.Is(err, unix.ENOEXEC) || !strings.Contains(err.Error(), "net") {
		t.Errorf("err %v", err)
	}
}

func TestModprobe(t *testing.T) {
	args := []string{"/proc/1/exe", "-q", "--", "fs-overlay"}
	if !IsModprobe(args) || IsModprobe([]string{"runvm-agent"}) || IsModprobe([]string{"runvm-agent", "init"}) {
		t.Error("the kernel's call is not told from others")
	}
	loaded, load := recorder("")
	if err := probe(list, args[3], load); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"libcrc.ko", "overlay.ko"}, *loaded); diff != "" {
		t.Error(diff)
	}
	if err := probe(list, "nonesuch", load); err == nil {
		t.Error("an unknown module was loaded")
	}
}
