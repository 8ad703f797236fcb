package vmm

import (
	"slices"
	"testing"
)

func TestKernelParameters(t *testing.T) {
	for accel, want := range map[Accel]bool{TCG: true, KVM: false} {
		words := KernelParameters(accel)
		for _, word := range []string{"mitigations=off", "no_timer_check"} {
			if got := slices.Contains(words, word); got != want {
				t.Errorf("%s: %s: %v, want %v", accel, word, got, want)
			}
		}
		if !slices.Contains(words, "panic=-1") {
			t.Errorf("%s: a panic would not end the machine: %v", accel, words)
		}
	}
}
