package vmm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	debianVersion = "virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\n" +
		"Copyright (c) 2003-2022 Fabrice Bellard and the QEMU Project developers\nusing FUSE kernel interface version 7.36\n"
	rustVersion = "virtiofsd 1.13.2\n"
)

func TestClassifyVirtiofsd(t *testing.T) {
	for text, rust := range map[string]bool{
		debianVersion:                            false,
		"FUSE library version: 3.2.1\n":          false,
		rustVersion:                              true,
		"virtiofsd 1.0.0":                        true,
		"virtiofsd backend 0.1.0\n":              true,
		"\nvirtiofsd 1.11.1 (some distribution)": true,
	} {
		got, err := classifyVirtiofsd(text)
		if err != nil || got != rust {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, rust)
		}
	}
	for _, text := range []string{"", "virtiofsd", "virtiofsd ", "virtiofsd beta", "bash 5.2"} {
		if _, err := classifyVirtiofsd(text); !errors.Is(err, errUnknownVirtiofsd) {
			t.Errorf("%q: got error %v", text, err)
		}
	}
}

func FuzzClassifyVirtiofsd(f *testing.F) {
	f.Add(debianVersion)
	f.Add(rustVersion)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if rust, err := classifyVirtiofsd(text); err != nil && rust {
			t.Error("both an answer and an error")
		}
	})
}

// script makes a program that prints text.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "virtiofsd")
	if err := os.WriteFile(path, []byte("#!/bin/sh\ncat <<'END'\n"+text+"END\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindVirtiofsd(t *testing.T) {
	for text, rust := range map[string]bool{debianVersion: false, rustVersion: true} {
		program := script(t, text)
		path, got, err := FindVirtiofsd(program)
		if err != nil || got != rust || path != program {
			t.Errorf("got %s, %v, %v, want %s, %v", path, got, err, program, rust)
		}
	}
	if _, _, err := FindVirtiofsd(script(t, "hello\n")); !errors.Is(err, errUnknownVirtiofsd) {
		t.Errorf("got error %v for another program", err)
	}
}

func TestFindMissing(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	_, err := FindQEMU(absent)
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), absent) ||
		!strings.Contains(err.Error(), "qemu_path") {
		t.Errorf("got error %v", err)
	}
	if _, _, err := FindVirtiofsd(absent); !errors.Is(err, ErrNotFound) {
		t.Errorf("got error %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := find("", []string{"first", "second"}); !errors.Is(err, ErrNotFound) ||
		!strings.Contains(err.Error(), "first, second") {
		t.Errorf("got error %v", err)
	}
}
