//go:build e2e

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// loopDevice makes a block device of the host out of a new file of the given size, until the test ends.
func loopDevice(t *testing.T, size int64, options ...string) (device, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	got := command(t, "", "losetup", append(options, "--find", "--show", file)...)
	device = strings.TrimSpace(got.stdout)
	if got.code != 0 || device == "" {
		t.Fatalf("losetup: %s", got.stderr)
	}
	t.Cleanup(func() {
		command(t, "", "losetup", "--detach", device)
		// With an opener the kernel would only note the wish.
		if _, err := os.Stat("/sys/block/" + filepath.Base(device) + "/loop"); err == nil {
			t.Errorf("%s is still in use", device)
		}
	})
	return device, file
}

// rdev is the number of the device that a node stands for.
func rdev(t *testing.T, node string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		t.Fatal(err)
	}
	return st.Rdev
}

// boundingSet is what a privileged container gets: all capabilities that the engine has itself.
func boundingSet(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "CapBnd:")
	return strings.Fields(rest)[0]
}

// report runs a script in a container and returns the values of the lines "key=value" that it prints.
func (p *podmanTest) report(script string, args ...string) map[string]string {
	p.t.Helper()
	r := p.run(append(append([]string{"run", "--rm"}, args...), "sh", "-c", script)...)
	if r.code != 0 {
		p.t.Fatalf("code %d: %s", r.code, r.stderr)
	}
	values := map[string]string{}
	for line := range strings.Lines(r.stdout) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = strings.TrimSpace(value)
	}
	return values
}

// wantValues compares what a container reported.
func wantValues(t *testing.T, got, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %q, want %q", key, got[key], value)
		}
	}
}

// TestPodmanBlockDevices: block devices of the host that are asked for, and no others, are the guest's, with the access
// that was granted.
func TestPodmanBlockDevices(t *testing.T) {
	p := newPodman(t)
	disk, _ := loopDevice(t, 32<<20)
	readOnly, readOnlyFile := loopDevice(t, 1<<20, "--sector-size", "4096")
	volume, volumeFile := loopDevice(t, 1<<20)
	loopDevice(t, 1<<20) // nobody asks for it
	rule := fmt.Sprintf("b %d:%d rwm", unix.Major(rdev(t, volume)), unix.Minor(rdev(t, volume)))
	for _, f := range []string{readOnlyFile, volumeFile} {
		if err := os.WriteFile(f, append([]byte("from the host\n"), make([]byte, 1<<20-14)...), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	got := p.report(`
		mkfs.ext4 -q /dev/xvda && mount /dev/xvda /mnt && echo from the guest > /mnt/file && umount /mnt && echo mounted=yes
		echo ro=$(head -c 13 /dev/ro); (echo x > /dev/ro) 2>/dev/null || echo ro-write=denied
		echo volume=$(head -c 13 /dev/volume); printf 'from the guest' | dd of=/dev/volume conv=notrunc,fsync 2>/dev/null && echo volume-write=done
		set -- /sys/block/vd*; echo disks=$#
		echo sector=$(blockdev --getss /dev/ro)
		echo mode=$(stat -c %a:%u:%g:%F /dev/xvda)`,
		"--network", "none", "--cap-add", "SYS_ADMIN", "--device", disk+":/dev/xvda", "--device", readOnly+":/dev/ro:r",
		"-v", volume+":/dev/volume", "--device-cgroup-rule", rule, "debian")
	wantValues(t, got, map[string]string{
		"mounted": "yes", "ro": "from the host", "ro-write": "denied", "volume": "from the host", "volume-write": "done",
		"disks": "3", "sector": "4096", "mode": "600:0:0:block special file",
	})
	for file, want := range map[string]string{readOnlyFile: "from the host\n", volumeFile: "from the guest"} {
		data, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(data), want) {
			t.Errorf("%s begins with %.20q, %v; want %q", file, data, err, want)
		}
	}
	dir := t.TempDir()
	if err := unix.Mount(disk, dir, "ext4", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "file"))
	if err != nil || string(data) != "from the guest\n" {
		t.Errorf("on the host: %q, %v", data, err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Error(err)
	}

	t.Run("privileged", func(t *testing.T) {
		got := p.report(`
			mount /dev/xvda /mnt && echo file=$(cat /mnt/file); umount /mnt
			echo caps=$(sed -n 's/^CapEff:\t*//p' /proc/self/status); echo sys=$(sed -n 's,.* / /sys \(r[wo]\)\,.*,\1,p' /proc/self/mountinfo)
			set -- /dev/loop[0-9]*; [ -e "$1" ] || echo loop=none; set -- /sys/block/vd*; echo disks=$#
			echo t > /dev/kmsg && echo kmsg=written; mount -t tmpfs none /mnt && echo tmpfs=mounted
			hostname changed && echo hostname=$(hostname)`,
			"--network", "none", "--privileged", "-v", disk+":/dev/xvda", "debian")
		wantValues(t, got, map[string]string{
			"file": "from the guest", "caps": boundingSet(t), "sys": "rw", "loop": "none", "disks": "1",
			"kmsg": "written", "tmpfs": "mounted", "hostname": "changed",
		})
	})
	t.Run("pod", func(t *testing.T) {
		p.must("run", "-d", "--pod", "new:pod", "--name", "other", "busybox", "sleep", "100000")
		got := p.report(`echo data=$(head -c 14 /dev/x); set -- /sys/block/vd*; echo disks=$#`,
			"--pod", "pod", "--device", volume+":/dev/x:r", "debian")
		wantValues(t, got, map[string]string{"data": "from the guest", "disks": "1"})
		// It goes with its container, not with the virtual machine.
		eventually(t, func() string { return p.run("exec", "other", "sh", "-c", "ls /sys/block; echo listed").stdout }, []string{"listed"}, []string{"vd"})
		p.must("pod", "rm", "--force", "--time", "0", "pod")
	})
	t.Run("user namespace", func(t *testing.T) {
		node := filepath.Join(t.TempDir(), "node")
		if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(rdev(t, readOnly))); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(node, 100000, 100000); err != nil {
			t.Fatal(err)
		}
		got := p.report(`echo data=$(head -c 13 /dev/ro); set -- $(cat /proc/self/uid_map); echo map=$*; echo owner=$(stat -c %u:%g /dev/ro)`,
			"--network", "none", "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "--device", node+":/dev/ro:r", "debian")
		wantValues(t, got, map[string]string{"data": "from the host", "map": "0 100000 65536", "owner": "0:0"})
	})
	t.Run("no such device", func(t *testing.T) {
		got := p.run("run", "--rm", "--network", "none", "--device", "/dev/nosuchdisk", "busybox", "true")
		if got.code == 0 || !strings.Contains(got.stderr, "/dev/nosuchdisk") {
			t.Errorf("%+v", got)
		}
	})
}

// TestPodmanDevices: character devices are the guest's own, under the asked path and with the asked access.
func TestPodmanDevices(t *testing.T) {
	p := newPodman(t)
	got := p.report(`
		ip tuntap add dev t0 mode tun && ip addr add 10.9.9.1/24 dev t0 && ip link set t0 up && echo tun=$(ip -o -4 addr show t0 | wc -l)
		(exec 3</dev/myfuse) 2>/dev/null && echo fuse-read=yes; (exec 3<>/dev/myfuse) 2>/dev/null || echo fuse-write=denied
		mknod /dev/kmsg2 c 1 11 && (exec 3</dev/kmsg2) 2>/dev/null || echo kmsg=denied
		echo mode=$(stat -c %a:%u:%g:%t:%T /dev/net/tun)`,
		"--cap-add", "NET_ADMIN", "--cap-add", "MKNOD", "--device", "/dev/net/tun", "--device", "/dev/fuse:/dev/myfuse:r", "debian")
	wantValues(t, got, map[string]string{
		"tun": "1", "fuse-read": "yes", "fuse-write": "denied", "kmsg": "denied", "mode": "600:0:0:a:c8",
	})
}
