//go:build e2e

package tests

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// shareTypes runs a test over both ways to share files.
func shareTypes(t *testing.T, f func(t *testing.T, r *runtime, kind string)) {
	for _, kind := range []string{"virtiofs", "9p"} {
		t.Run(kind, func(t *testing.T) {
			r := newRuntime(t)
			r.env = config(t, "[share]\ntype = \""+kind+"\"\n")
			f(t, r, kind)
		})
	}
}

// TestVolumes: what the guest does to files is what the host sees, and the other way round.
func TestVolumes(t *testing.T) {
	shareTypes(t, func(t *testing.T, r *runtime, kind string) {
		// A comma and a blank in a path must not become an option of QEMU or virtiofsd.
		volume := filepath.Join(t.TempDir(), "a volume, readonly=on")
		secret := filepath.Join(t.TempDir(), "secret")
		for path, text := range map[string]string{filepath.Join(volume, "from-host"): "host", secret: "s3cret"} {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(filepath.Join(volume, "from-host"), 1234, 4321); err != nil {
			t.Fatal(err)
		}
		script := strings.Join([]string{
			"cd /data", "stat -c '%u %g %a' from-host", "cat from-host /etc/secret", "echo",
			"echo guest > from-guest", "chown 77:88 from-guest", "chmod 4751 from-guest",
			"ln from-guest hard", "ln -s from-guest soft", "mkdir -p d/e", "mkfifo fifo 2>/dev/null",
			"echo no > /ro/x || echo refused", "echo no > /etc/secret || echo refused", "rm /ro/from-host || echo refused",
		}, "\n")
		bundle := newBundle(t, []string{"sh", "-c", script}, func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, bind(volume, "/data"), bind(volume, "/ro", "ro"), bind(secret, "/etc/secret", "ro"))
		})
		got := r.run(t, "run", "--bundle", bundle, "c1")
		want := "1234 4321 640\nhosts3cret\nrefused\nrefused\nrefused\n"
		if got.code != 0 || got.stdout != want {
			t.Errorf("code %d, stdout %q, want %q", got.code, got.stdout, want)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(volume, "from-guest"), &st); err != nil {
			t.Fatal(err)
		}
		if st.Uid != 77 || st.Gid != 88 || st.Mode&0o7777 != 0o4751 || st.Nlink != 2 {
			t.Errorf("owner %d:%d, mode %o, links %d", st.Uid, st.Gid, st.Mode&0o7777, st.Nlink)
		}
		if link, err := os.Readlink(filepath.Join(volume, "soft")); err != nil || link != "from-guest" {
			t.Errorf("symbolic link %q, %v", link, err)
		}
		if kind == "9p" {
			return // QEMU's 9p server refuses to make special files since CVE-2023-2861 was fixed
		}
		if err := unix.Stat(filepath.Join(volume, "fifo"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			t.Errorf("fifo: mode %o, %v", st.Mode, err)
		}
	})
}

// TestReadOnlyOnHost: a volume that is read-only for one container stays so even for a guest kernel that ignores its own
// mount flags. The guest remounts the whole share writable, which root of the VM can, and writes below it.
func TestReadOnlyOnHost(t *testing.T) {
	r := newRuntime(t)
	volume := t.TempDir()
	if err := os.WriteFile(filepath.Join(volume, "file"), []byte("untouched"), 0o666); err != nil {
		t.Fatal(err)
	}
	script := "mount -o remount,rw /ro 2>/dev/null; echo spoilt > /ro/file; mount -o remount,rw / 2>/dev/null; echo spoilt > /spoilt; true"
	bundle := newBundle(t, []string{"sh", "-c", script}, func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, bind(volume, "/ro", "ro"))
		s.Root.Readonly = true
		all := append(s.Process.Capabilities.Bounding, "CAP_SYS_ADMIN")
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	})
	r.run(t, "run", "--bundle", bundle, "c1")
	if data, err := os.ReadFile(filepath.Join(volume, "file")); err != nil || string(data) != "untouched" {
		t.Errorf("the read-only volume holds %q (%v)", data, err)
	}
	if _, err := os.Stat(filepath.Join(bundle, "rootfs", "spoilt")); err == nil {
		t.Error("the read-only root was written to")
	}
}

// TestMountKinds: the mounts that only the guest has.
func TestMountKinds(t *testing.T) {
	r := newRuntime(t)
	volume := t.TempDir()
	if err := os.WriteFile(filepath.Join(volume, "inside"), []byte("here"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := "df -k /dev/shm | tail -1 | awk '{print $2}'; stat -f -c %T /dev/shm /scratch /proc /sys /dev/mqueue /sys/fs/cgroup; " +
		"cat /scratch/sub/inside; echo; ls /dev/pts >/dev/null && echo pts; cat /proc/kcore 2>/dev/null | head -c 1 | wc -c; " +
		"echo x > /sys/kernel/profiling 2>/dev/null || echo sys-ro; test -c /dev/fuse && echo fuse"
	bundle := newBundle(t, []string{"sh", "-c", script}, func(s *specs.Spec) {
		for i := range s.Mounts {
			if s.Mounts[i].Destination == "/dev/shm" {
				s.Mounts[i].Options = []string{"nosuid", "noexec", "nodev", "mode=1777", "size=1000k"}
			}
		}
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/scratch", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m"}},
			bind(volume, "/scratch/sub", "ro"))
		mode := os.FileMode(0o666)
		s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: &mode}}
	})
	got := r.run(t, "run", "--bundle", bundle, "c1")
	want := "1000\ntmpfs\ntmpfs\nproc\nsysfs\nUNKNOWN\nUNKNOWN\nhere\npts\n0\nsys-ro\nfuse\n"
	// busybox has no names for mqueue and cgroup2; those that have print them.
	clean := strings.NewReplacer("mqueue", "UNKNOWN", "cgroup2fs", "UNKNOWN", "cgroup2", "UNKNOWN").Replace(got.stdout)
	if clean != want {
		t.Errorf("got\n%s\nwant\n%s", got.stdout, want)
	}
}

// TestVolumeSurvivesFailure: a create that fails after the volumes were mounted must not touch what is in them.
func TestVolumeSurvivesFailure(t *testing.T) {
	r := newRuntime(t)
	volume := t.TempDir()
	file := filepath.Join(volume, "precious")
	if err := os.WriteFile(file, []byte("data"), 0o644); err != nil {
		t.Fatal(err)
	}
	bundle := newBundle(t, []string{"/no/such/program"}, func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, bind(volume, "/data"))
	})
	if got := r.run(t, "run", "--bundle", bundle, "c1"); got.code == 0 {
		t.Error("a container without a program ran")
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "data" {
		t.Errorf("the volume lost its file: %q, %v", data, err)
	}
	if _, err := os.Stat(filepath.Join(bundle, "rootfs", "bin", "busybox")); err != nil {
		t.Errorf("the root lost its files: %v", err)
	}
}

// TestHostileLinks: a root whose links lead out of it gets its mount points inside all the same.
func TestHostileLinks(t *testing.T) {
	r := newRuntime(t)
	outside, volume := t.TempDir(), t.TempDir()
	bundle := newBundle(t, []string{"sh", "-c", "touch /etc/x/y/mark && echo ok"}, func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, bind(volume, "/etc/x/y"))
	})
	etc := filepath.Join(bundle, "rootfs", "etc")
	if err := os.RemoveAll(etc); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../../../../../../.."+outside, etc); err != nil {
		t.Fatal(err)
	}
	got := r.run(t, "run", "--bundle", bundle, "c1")
	if entries, _ := os.ReadDir(outside); len(entries) > 0 {
		t.Errorf("the host's directory got %v", entries)
	}
	if got.stdout != "ok\n" {
		t.Errorf("the volume was not where the container looks: %+v", got)
	}
	if _, err := os.Stat(filepath.Join(volume, "mark")); err != nil {
		t.Error(err)
	}
}

// TestManyFiles: a guest may look at more files than the host lets virtiofsd have open.
func TestManyFiles(t *testing.T) {
	const files = 50_000
	r := newRuntime(t)
	volume := t.TempDir()
	for i := range files {
		dir := filepath.Join(volume, strconv.Itoa(i/1000))
		if i%1000 == 0 {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	// -size makes find ask for each file's attributes, so that every inode gets into the guest's cache.
	bundle := newBundle(t, []string{"sh", "-c", "find /data -type f -size -1 | wc -l"}, func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, bind(volume, "/data"))
	})
	got := r.run(t, "run", "--bundle", bundle, "c1")
	if got.code != 0 || strings.TrimSpace(got.stdout) != strconv.Itoa(files) {
		t.Errorf("the guest found %q of %d files: %s", got.stdout, files, tail(got.stderr))
	}
}

// ownerOf is the user id that a file belongs to.
func ownerOf(info os.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
