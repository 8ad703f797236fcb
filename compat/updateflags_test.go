package compat

import (
	"math"
	"testing"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"-1": -1, "0": 0, "10M": 10 << 20, "4611686018427387904": 1 << 62} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	// The library turns what is too large into the smallest number.
	for _, text := range []string{"-2", "x", "", "9223372036854775808", "99999999999999999999999"} {
		if got, err := parseSize(text); err == nil && got != math.MaxInt64 {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
}
