//go:build e2e

// Package tests holds the end-to-end tests: real VMs, through the command line and through real engines. They use
// nothing of the program but its command line. They need root and what "make all images" builds.
package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Where "make" puts things, absolute.
var (
	buildDir  = absolute("../build")
	runvmPath = filepath.Join(buildDir, "runvm")
	busybox   = filepath.Join(buildDir, "images", "busybox")
	debianTar = filepath.Join(buildDir, "images", "debian.tar")
)

func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return abs
}

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the end-to-end tests need root")
		os.Exit(1)
	}
	for _, need := range []string{runvmPath, filepath.Join(buildDir, "guest", "vmlinux"), busybox, debianTar} {
		if _, err := os.Stat(need); err != nil {
			fmt.Fprintf(os.Stderr, "%v: run \"make all images\" first\n", err)
			os.Exit(1)
		}
	}
	// Made once, so that no container makes it while a test compares the host before and after.
	template := exec.Command(runvmPath, "template", "create")
	template.Stderr = os.Stderr
	if err := template.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "make the template:", err)
		os.Exit(1)
	}
	code := m.Run()
	if out, err := exec.Command(runvmPath, "template", "rm", "--all").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "remove the template: %v: %s\n", err, out)
		code = 1
	}
	if err := errors.Join(engine.remove(), engines.remove()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
