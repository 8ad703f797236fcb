package sandbox

import "testing"

func TestNeeded(t *testing.T) {
	keep := []string{"/usr", "/run/runvm/c1/shared", "/proc"}
	for mountpoint, want := range map[string]bool{
		"/": true, "/usr": true, "/usr/lib": true, "/run": true, "/run/runvm": true, "/run/runvm/c1/shared": true,
		"/run/runvm/c1/shared/c1/rootfs": true, "/proc/sys/fs/binfmt_misc": true,
		"/run/runvm/c2/shared": false, "/usrlocal": false, "/var": false, "/var/lib/containers/storage/overlay/x/merged": false,
		"/run/user/0": false, "/sys": false, "/proc2": false,
	} {
		if got := needed(mountpoint, keep); got != want {
			t.Errorf("needed(%q) = %v", mountpoint, got)
		}
	}
}
