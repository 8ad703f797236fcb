package vmm

import (
	"slices"
	"testing"
)

func TestKernelParameters(t *testing.T) {
	for accel, want := range map[Accel]bool{TCG: true, KVM: false} {
		words := KernelParameters(accel)
		if got := slices.Contains(words, "mitigations=off"); got != want {
			t.Errorf("%s: mitigations off: %v, want %v", accel, got, want)
		}
		if !slices.Contains(words, "panic=-1") {
			t.Errorf("%s: a panic would not end the machine: %v", accel, words)
		}
	}
}
