package vmm

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// shareCapabilities are what a file server needs that keeps its clients' owners and modes: those that virtiofsd keeps.
func shareCapabilities() []uint {
	return []uint{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID,
		unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_MKNOD, unix.CAP_SETFCAP,
	}
}

// dropPrivileges leaves the thread, and what it executes, with the jail's ids and no way to gain more.
func dropPrivileges(j Jail) error {
	var keep []uint
	uid, gid := int(j.UID), int(j.GID)
	if j.KeepRoot {
		keep, uid, gid = shareCapabilities(), 0, 0
	}
	kept := capabilityMask(keep)
	if err := dropBounding(kept); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("drop supplementary groups: %w", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("set group id %d: %w", gid, err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("set user id %d: %w", uid, err)
	}
	if err := setCapabilities(kept); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}

func capabilityMask(capabilities []uint) uint64 {
	var mask uint64
	for _, c := range capabilities {
		mask |= 1 << c
	}
	return mask
}

// dropBounding empties the bounding set but for kept. The kernel says EINVAL at the first capability it does not know.
func dropBounding(kept uint64) error {
	for c := range uint(64) {
		if kept&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
	return nil
}

// setCapabilities makes mask the permitted and effective set, and empties the inheritable one. Whatever of mask this
// process lacks itself stays away.
func setCapabilities(mask uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for i := range data {
		have := data[i].Permitted & uint32(mask>>(32*i))
		data[i] = unix.CapUserData{Effective: have, Permitted: have}
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}
