package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// minimal returns a valid configuration.
func minimal() *specs.Spec {
	return &specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{Args: []string{"true"}, Cwd: "/"},
		Root:    &specs.Root{Path: "rootfs"},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace},
		}},
	}
}

// write makes a bundle with an empty root.
func write(t *testing.T, config []byte) string {
	t.Helper()
	// Resolved, as Bundle.Dir is.
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(filepath.Join(dir, configName), config, 0o600),
		os.Mkdir(filepath.Join(dir, "rootfs"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// load makes a bundle of a configuration and loads it.
func load(t *testing.T, s *specs.Spec) *Bundle {
	t.Helper()
	config, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(write(t, config))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wantError checks an error's text; empty: there is none.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error = %v, want %q", err, want)
	}
}

func TestLoadErrors(t *testing.T) {
	process := `{"process":{"cwd":"/","args":["true"]}}`
	for config, want := range map[string]string{
		process:                                  "",
		process + "trash":                        "",
		"{":                                      "unexpected EOF",
		"null":                                   "config cannot be null",
		"[]":                                     "json: cannot unmarshal array into Go value of type specs.Spec",
		"{}":                                     "process property must not be empty",
		`{"process":{}}`:                         "Cwd property must not be empty",
		`{"process":{"cwd":"x"}}`:                "Cwd must be an absolute path",
		`{"process":{"cwd":"/"}}`:                "args must not be empty",
		strings.Repeat(" ", maxConfig) + process: "larger than 16 MiB",
		`{"hostname":"` + strings.Repeat("x", maxConfig): "larger than 16 MiB",
	} {
		t.Run(want, func(t *testing.T) {
			_, err := Load(write(t, []byte(config)))
			wantError(t, err, want)
		})
	}
}

func TestLoadMissing(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(dir)
	wantError(t, err, "JSON specification file config.json not found")

	missing := filepath.Join(dir, "missing")
	_, err = Load(missing)
	wantError(t, err, "chdir "+missing+": no such file or directory")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v is not os.ErrNotExist", err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(file)
	wantError(t, err, "chdir "+file+": not a directory")
}

func TestLoadResolvesLinks(t *testing.T) {
	config, err := json.Marshal(minimal())
	if err != nil {
		t.Fatal(err)
	}
	dir := write(t, config)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(link))
	for _, path := range []string{link, "link", "./link/", dir} {
		b, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if b.Dir != dir || b.Rootfs() != filepath.Join(dir, "rootfs") {
			t.Errorf("Load(%q): Dir = %q, Rootfs = %q; want %q", path, b.Dir, b.Rootfs(), dir)
		}
	}
}

func TestLoadProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "process.json")
	for content, want := range map[string]string{
		`{"args":["id"],"cwd":"/","terminal":true}`: "",
		`{"args":["id"]}`: "Cwd property must not be empty",
		`null`:            "Cwd property must not be empty",
		`{"cwd":"/"}`:     "args must not be empty",
		``:                "EOF",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := LoadProcess(path)
		wantError(t, err, want)
		if want == "" && (!p.Terminal || p.Args[0] != "id") {
			t.Errorf("process = %+v", p)
		}
	}
	_, err := LoadProcess(path + "x")
	wantError(t, err, "no such file or directory")
}

func TestValidateID(t *testing.T) {
	for _, id := range []string{"a", "A-Z_0.9+", "...", "-x", strings.Repeat("f", 64)} {
		if err := ValidateID(id); err != nil {
			t.Errorf("ValidateID(%q) = %v", id, err)
		}
	}
	for _, id := range []string{"", ".", "..", "a/b", "a b", "ä", "a\x00", "a\n", ",roots"} {
		if err := ValidateID(id); !errors.Is(err, ErrInvalidID) {
			t.Errorf("ValidateID(%q) = %v, want ErrInvalidID", id, err)
		}
	}
}

func FuzzValidateID(f *testing.F) {
	for _, id := range []string{"", ".", "..", "a", "a/..", "ä", "\x00"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if ValidateID(id) == nil && filepath.Join("/root", id) != "/root/"+id {
			t.Errorf("the id %q leads out of the state directory", id)
		}
	})
}

func FuzzLoad(f *testing.F) {
	podman, err := os.ReadFile("testdata/podman.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(podman)
	f.Add([]byte(`{"process":{"cwd":"/","args":["a"]},"linux":{},"root":{"path":"rootfs"},"ociVersion":"1.0.0"}`))
	f.Add([]byte(`null`))
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, config []byte) {
		spec, err := decodeSpec(bytes.NewReader(config))
		if err != nil {
			return
		}
		b := &Bundle{Dir: root, Spec: spec}
		if spec.Root != nil {
			spec.Root.Path = root
		}
		if b.Validate() != nil {
			return
		}
		plan, err := b.Plan(GuestDirs{Share: "/shared/c", SharedMemory: "/shm"})
		if err != nil {
			return
		}
		for _, m := range plan.Mountpoints {
			if m.Path != filepath.Join("/", m.Path) {
				t.Errorf("mount point %q is not clean", m.Path)
			}
		}
	})
}

func FuzzLoadProcess(f *testing.F) {
	f.Add([]byte(`{"args":["id"],"cwd":"/","terminal":true}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodeProcess(bytes.NewReader(data))
		if err == nil && (len(p.Args) == 0 || !filepath.IsAbs(p.Cwd)) {
			t.Errorf("invalid process %+v", p)
		}
	})
}
