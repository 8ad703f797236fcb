package vmm

import (
	"fmt"
	"os"
	"testing"
)

// TestMain lets the test binary stand in for the program, which Start executes again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == JailCommand {
		fmt.Fprintln(os.Stderr, JailMain())
		os.Exit(1)
	}
	os.Exit(m.Run())
}
