package boot

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sealedName is argv[0] of the agent once it runs from a sealed memfd.
const sealedName = "runvm-agent"

// Sealed tells whether the agent was started by ExecSealed.
func Sealed(args []string) bool { return len(args) > 0 && args[0] == sealedName }

// mfdExec is MFD_EXEC of linux/memfd.h, known since Linux 6.3; older kernels refuse it with EINVAL.
const mfdExec = 0x10

// seals are what libcontainer wants to see on /proc/self/exe (libcontainer/exeseal). With them it runs the agent as it
// is; without it would copy the whole binary for every process that it starts.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// Limits on open files that a container inherits unless its spec says otherwise. The kernel starts PID 1 with 1024 and
// 4096; on a host it is systemd's 1024 and 524288 or the engine's that runc passes on.
const (
	softFiles = 1024
	hardFiles = 1 << 20
)

// ExecSealed replaces the process by the same program in a sealed memfd, and gives the initramfs's copy back to the
// kernel. It returns only on failure. It needs no /proc.
func ExecSealed(path string) error {
	// Set before the exec: Go's runtime raises its own soft limit at start, and gives children the one it found.
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: softFiles, Max: hardFiles}); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	f, err := sealedCopy(path)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return execFile(f, []string{sealedName}, os.Environ())
}

// sealedCopy returns an executable, unchangeable copy of a file.
func sealedCopy(path string) (*os.File, error) {
	fd, err := unix.MemfdCreate(sealedName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|mfdExec)
	if err == unix.EINVAL { // errors of package unix are bare
		fd, err = unix.MemfdCreate(sealedName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), sealedName)
	if err := fillAndSeal(f, path); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("copy %s to a memfd: %w", path, err)
	}
	return f, nil
}

func fillAndSeal(f *os.File, path string) error {
	src, err := os.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	if _, err := io.Copy(f, src); err != nil {
		return err
	}
	if err := f.Chmod(0o511); err != nil {
		return err
	}
	_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
	return err
}

// execFile is fexecve(3).
func execFile(f *os.File, argv, env []string) error {
	empty, err := unix.BytePtrFromString("")
	if err != nil {
		return err
	}
	args, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return err
	}
	envs, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, f.Fd(), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&envs[0])), unix.AT_EMPTY_PATH, 0)
	return fmt.Errorf("execveat %s: %w", f.Name(), errno)
}
