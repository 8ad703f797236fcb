package main

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
)

func TestRunRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"unexpected argument":            {"x"},
		"not defined":                    {"-nonsense"},
		"either a kernel package or a k": {},
		"agent":                          {"-kernel-root", "/", "-agent", "/nonexistent"},
	} {
		if err := run(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", args, err, want)
		}
	}
	if err := run(t.Context(), []string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}
