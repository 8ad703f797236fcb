package sysctl

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.ip_forward":               "net/ipv4/ip_forward",
		"net/ipv4/conf/eth0.100/forwarding": "net/ipv4/conf/eth0.100/forwarding",
		"kernel.shmmax":                     "kernel/shmmax",
		"net.ipv4.conf.all.forwarding":      "net/ipv4/conf/all/forwarding",
		"":                                  "", ".": "", "..": "", "a..b": "", "../kcore": "", "/proc/kcore": "", "net/../../sysrq-trigger": "",
		"net/./x": "", "a.": "", ".a": "", "a/": "",
	} {
		got, err := Path(name)
		if got != want || (want == "") != errors.Is(err, ErrName) {
			t.Errorf("Path(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestWriteUnknown(t *testing.T) {
	if err := Write(map[string]string{"net.nonesuch": "1"}); err == nil {
		t.Error("no error")
	}
	if err := Write(nil); err != nil {
		t.Error(err)
	}
}

func FuzzPath(f *testing.F) {
	f.Add("net.ipv4.ip_forward")
	f.Add("net/../../x")
	f.Add("a//b")
	f.Fuzz(func(t *testing.T, name string) {
		path, err := Path(name)
		if err == nil && !filepath.IsLocal(path) {
			t.Errorf("Path(%q) = %q leaves /proc/sys", name, path)
		}
	})
}
