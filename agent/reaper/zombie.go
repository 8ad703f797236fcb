package reaper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfo is the kernel's siginfo_t as waitid(2) fills it for a child, on 64-bit machines.
type siginfo struct {
	signo, errno, code int32
	_                  int32
	pid                int32
	uid                uint32
	status             int32
	_                  [128 - 28]byte
}

// zombie returns the pid of one child that has ended, without waiting for it; 0 if there is none.
func zombie() int {
	for {
		var info siginfo
		err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		switch err { // errors of package unix are bare
		case nil:
			return int(info.pid)
		case unix.EINTR:
		default:
			return 0
		}
	}
}
