package vmm

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Accel is what runs the guest's instructions.
type Accel string

// The accelerators.
const (
	KVM Accel = "kvm" // the processor, through Linux
	TCG Accel = "tcg" // software emulation
)

// ErrNoKVM is returned when KVM is demanded and cannot be used.
var ErrNoKVM = errors.New("no hardware virtualisation")

// DetectAccel resolves "auto" (or ""), "kvm" and "tcg". Auto is KVM where /dev/kvm opens for reading and writing and
// the processor has the vmx or svm flag: without one of them a /dev/kvm may open and yet boot no guest. The reason
// says in one sentence why TCG was chosen; it is empty with KVM.
func DetectAccel(want string) (a Accel, reason string, err error) {
	return accelDetector{device: "/dev/kvm", cpuinfo: "/proc/cpuinfo"}.detect(want)
}

// accelDetector knows where to look.
type accelDetector struct{ device, cpuinfo string }

func (d accelDetector) detect(want string) (Accel, string, error) {
	switch want {
	case "kvm":
		if err := d.usable(); err != nil {
			return "", "", fmt.Errorf("accelerator \"kvm\": %w: %w (\"auto\" and \"tcg\" do without)", ErrNoKVM, err)
		}
		return KVM, "", nil
	case "tcg":
		return TCG, "software emulation is configured", nil
	case "auto", "":
		if err := d.usable(); err != nil {
			return TCG, err.Error(), nil
		}
		return KVM, "", nil
	}
	return "", "", fmt.Errorf("accelerator %q: want \"auto\", \"kvm\" or \"tcg\"", want)
}

func (d accelDetector) usable() error {
	f, err := os.OpenFile(d.device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	virtual, err := hasVirtualisation(d.cpuinfo)
	if err != nil {
		return err
	}
	if !virtual {
		return fmt.Errorf("%s shows neither vmx nor svm", d.cpuinfo)
	}
	return nil
}

// hasVirtualisation looks for the flags in a file laid out as /proc/cpuinfo, proc_cpuinfo(5).
func hasVirtualisation(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if strings.TrimSpace(key) != "flags" {
			continue
		}
		flags := strings.Fields(value)
		return slices.Contains(flags, "vmx") || slices.Contains(flags, "svm"), nil
	}
	return false, lines.Err()
}
