package bundle

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestInheritRlimits: what the process has of its own stays, everything else is ours, as far as the guest can.
func TestInheritRlimits(t *testing.T) {
	p := &specs.Process{Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 1, Hard: 2}}}
	got := inheritRlimits(p, func(kind int) (unix.Rlimit, bool) {
		return unix.Rlimit{Cur: 100, Max: unix.RLIM_INFINITY}, kind != unix.RLIMIT_CPU
	})
	if len(p.Rlimits) != 1 {
		t.Errorf("the original was changed: %v", p.Rlimits)
	}
	limits := map[string][2]uint64{}
	for _, l := range got.Rlimits {
		limits[l.Type] = [2]uint64{l.Soft, l.Hard}
	}
	for name, want := range map[string][2]uint64{
		"RLIMIT_CORE": {1, 2}, "RLIMIT_STACK": {100, unix.RLIM_INFINITY}, "RLIMIT_NOFILE": {100, guestMaxFiles},
	} {
		if limits[name] != want {
			t.Errorf("%s: %v, want %v", name, limits[name], want)
		}
	}
	if _, ok := limits["RLIMIT_CPU"]; ok || len(limits) != len(rlimits)-1 || len(got.Rlimits) != len(limits) {
		t.Errorf("limits %v", got.Rlimits)
	}
	if own := InheritRlimits(&specs.Process{}); checkRlimits(own) != nil || len(own.Rlimits) < len(rlimits)-1 {
		t.Errorf("this process's: %v, %v", own.Rlimits, checkRlimits(own))
	}
}
