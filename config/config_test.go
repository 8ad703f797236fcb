package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	for name, tc := range map[string]struct {
		text, wantErr string
		check         func(Config) bool
	}{
		"empty file keeps the defaults": {text: "", check: func(c Config) bool { return c == Default() }},
		"a setting is taken": {
			text:  "accelerator = \"tcg\"\n[vm]\nmemory_mib = 1024\n",
			check: func(c Config) bool { return c.Accel == "tcg" && c.VM.MemoryMiB == 1024 && c.VM.CPUs == 1 },
		},
		"unknown setting":  {text: "colour = 1", wantErr: `unknown setting "colour"`},
		"unknown in table": {text: "[vm]\nram = 1", wantErr: `unknown setting "vm.ram"`},
		"wrong accel":      {text: `accelerator = "xen"`, wantErr: `accelerator = "xen": must be one of auto, kvm, tcg`},
		"too little":       {text: "[vm]\nmemory_mib = 8", wantErr: "vm.memory_mib = 8: must be from 128"},
		"no number":        {text: "[cgroup]\ncpu_overhead = nan", wantErr: "cgroup.cpu_overhead = NaN: must be from 0"},
		"broken":           {text: "[vm", wantErr: "toml"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.toml")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := Load(path)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want one with %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !tc.check(c) {
				t.Errorf("unexpected configuration %+v", c)
			}
		})
	}
}

func TestLoadMissingFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.toml")
	if _, err := Load(missing); err == nil {
		t.Error("a missing file that was asked for must be an error")
	}
	t.Setenv(PathVariable, missing)
	if _, err := Load(""); err == nil {
		t.Error("a missing file that the environment names must be an error")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("accelerator = \"kvm\"\n[vm]\nvcpus = 2\n")
	f.Add("[share]\ntype = \"9p\"")
	f.Fuzz(func(t *testing.T, text string) {
		c := Default()
		if err := c.decode(text); err == nil {
			if err := c.check(); err != nil {
				t.Errorf("decode accepted what check refuses: %v", err)
			}
		}
	})
}
