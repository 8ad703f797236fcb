package vmm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDetectAccel(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	device := write("kvm", "")
	absent := filepath.Join(dir, "absent")
	intel := write("intel", "processor\t: 0\nflags\t\t: fpu vmx sse\n")
	amd := write("amd", "processor\t: 0\nflags\t\t: fpu svm sse\n")
	none := write("none", "processor\t: 0\nflags\t\t: fpu sse vmxx\nbugs\t\t: vmx\n")
	for _, tc := range []struct {
		name            string
		device, cpuinfo string
		want            string
		accel           Accel
		reason          string // part of it
		err             error
	}{
		{"intel", device, intel, "auto", KVM, "", nil},
		{"amd", device, amd, "", KVM, "", nil},
		{"no flags", device, none, "auto", TCG, "neither vmx nor svm", nil},
		{"no device", absent, intel, "auto", TCG, "no such file", nil},
		{"no cpuinfo", device, absent, "auto", TCG, "no such file", nil},
		{"forced tcg", device, intel, "tcg", TCG, "configured", nil},
		{"forced kvm", device, intel, "kvm", KVM, "", nil},
		{"forced kvm without", device, none, "kvm", "", "", ErrNoKVM},
		{"forced kvm without device", absent, intel, "kvm", "", "", os.ErrNotExist},
	} {
		t.Run(tc.name, func(t *testing.T) {
			accel, reason, err := accelDetector{tc.device, tc.cpuinfo}.detect(tc.want)
			if accel != tc.accel || !errors.Is(err, tc.err) || tc.err == nil && err != nil {
				t.Errorf("got %q, %v, want %q, %v", accel, err, tc.accel, tc.err)
			}
			if !strings.Contains(reason, tc.reason) || tc.reason == "" && reason != "" {
				t.Errorf("reason %q, want %q in it", reason, tc.reason)
			}
		})
	}
	if _, _, err := DetectAccel("hvf"); err == nil || !strings.Contains(err.Error(), `"hvf"`) {
		t.Errorf("got error %v for an unknown accelerator", err)
	}
}
