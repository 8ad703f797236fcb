//go:build e2e

package tests

import (
	"fmt"
	"strings"
	"testing"
)

// TestQEMUEndsAtOnce: a QEMU that ends before it listens, as one does that refuses an option, is no silence to be waited
// out.
func TestQEMUEndsAtOnce(t *testing.T) {
	r := newRuntime(t)
	r.env = config(t, fmt.Sprintf("qemu_path = %q\n", "/bin/false"))
	got := r.run(t, "run", "--bundle", newBundle(t, []string{"true"}), "c1")
	if got.code != 1 || !strings.Contains(got.stderr, "QEMU: exit status 1") || strings.Contains(got.stderr, "no answer within") {
		t.Errorf("%+v", got)
	}
	if left := r.must(t, "list", "--quiet"); left != "" {
		t.Errorf("containers left: %q", left)
	}
}
