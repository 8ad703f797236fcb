package boot

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// newRoot makes an empty tmpfs the root of everything. An initramfs cannot be pivoted away from, which is how
// libcontainer enters a container's root (pivot_root(2), NOTES). The modules stay where the kernel unpacked them and
// are bound into the new root.
func newRoot() error {
	const dir = "/newroot"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount the root's tmpfs: %w", err)
	}
	if err := bindModules(dir); err != nil {
		return err
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root's tmpfs to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot to the new root: %w", err)
	}
	return os.Chdir("/")
}

// bindModules makes the initramfs's modules visible below root. An image without modules has none of that directory.
func bindModules(root string) error {
	if _, err := os.Stat(moduleDir); os.IsNotExist(err) {
		return nil
	}
	if err := os.MkdirAll(root+moduleDir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(moduleDir, root+moduleDir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", moduleDir, err)
	}
	return nil
}
