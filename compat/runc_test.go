//go:build cgo

package compat

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/specconv"
)

// TestKnown compares what is copied of specconv with the original.
func TestKnown(t *testing.T) {
	for name, tc := range map[string]struct{ want, got []string }{
		"namespaces":          {specconv.KnownNamespaces(), knownNamespaces},
		"mount options":       {specconv.KnownMountOptions(), knownMountOptions},
		"memory policy modes": {specconv.KnownMemoryPolicyModes(), knownMemoryPolicyModes},
		"memory policy flags": {specconv.KnownMemoryPolicyFlags(), knownMemoryPolicyFlags},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestExampleSpec: byte for byte what "runc spec" writes.
func TestExampleSpec(t *testing.T) {
	for _, rootless := range []bool{false, true} {
		spec := specconv.Example()
		if rootless {
			specconv.ToRootless(spec)
		}
		want, err := json.MarshalIndent(spec, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		got, err := exampleSpec(cgroups.IsCgroup2UnifiedMode(), rootless)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("rootless %v: %s", rootless, diff)
		}
	}
}
