package vmm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/internal/fdset"
)

// JailMain runs in the process that Start has made: it builds the jail and executes QEMU in it. It returns only if that
// fails; Start has been told why by then, and the caller exits with a non-zero status.
//
//	parent (Start)                        stage (JailMain)
//	  files..., configuration, report  →   descriptors 3..., last argument, last argument + 1
//	  memory of a template, if any     →   last argument + 2
//	                                       mounts, devices, pivot_root, ids, capabilities
//	  end of file on the report        ←   execve closes the report's writing end
//	  or: text                         ←   what failed
func JailMain() error {
	runtime.LockOSThread() // credentials and capabilities belong to a thread; execve takes this one's
	configFD, err := strconv.Atoi(os.Args[len(os.Args)-1])
	if err != nil || configFD < firstFD {
		return fmt.Errorf("%s is internal to runvm: it is not for the command line", JailCommand)
	}
	report := os.NewFile(uintptr(configFD+1), "report")
	err = runStage(configFD, report)
	_, _ = fmt.Fprint(report, err)
	return err
}

func runStage(configFD int, report *os.File) error {
	f := os.NewFile(uintptr(configFD), "configuration")
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var s stageConfig
	if err := json.NewDecoder(f).Decode(&s); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	// From here on nothing but the lent files survives execve, be it ours or inherited by an older parent.
	if err := fdset.CloseOnExecFrom(firstFD + s.Files); err != nil {
		return err
	}
	unix.Umask(0) // the mount points must be passable for QEMU's user
	if err := buildRoot(s); err != nil {
		return err
	}
	if s.Memory {
		if err := copyMemory(os.NewFile(uintptr(configFD+2), "memory"), s.Jail); err != nil {
			return err
		}
	}
	unix.Umask(0o077)
	if err := limitResources(); err != nil {
		return err
	}
	if err := dropPrivileges(s.Jail); err != nil {
		return err
	}
	if err := dieWithParent(report); err != nil {
		return err
	}
	args := append([]string{s.Binary}, s.Args...)
	return &os.PathError{Op: "execute", Path: s.Binary, Err: unix.Exec(s.Binary, args, []string{"LC_ALL=C"})}
}

// maxFiles bounds QEMU's descriptors: a 9p share holds one per file in use, everything else needs few.
const maxFiles = 65536

// limitResources forbids core files, which would hold the guest's memory, and bounds descriptors; it never raises a
// hard limit.
func limitResources() error {
	if err := syscall.Setrlimit(unix.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("limit the size of core files: %w", err)
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("read the limit on open files: %w", err)
	}
	files.Max = min(files.Max, maxFiles)
	files.Cur = files.Max
	if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("limit open files to %d: %w", files.Max, err)
	}
	return nil
}

// errParentGone is seen by nobody but the log of a stage that was left alone.
var errParentGone = errors.New("the parent has ended")

// dieWithParent asks for SIGKILL when the parent ends and checks that it has not ended before. It comes after the
// change of credentials, which clears the request, prctl(2) PR_SET_PDEATHSIG. The parent's id says nothing in a new PID
// namespace, but it alone holds the report's reading end.
func dieWithParent(report *os.File) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("ask to be killed with the parent: %w", err)
	}
	set := []unix.PollFd{{Fd: int32(report.Fd())}}
	if _, err := unix.Poll(set, 0); err != nil {
		return fmt.Errorf("check the parent: %w", err)
	}
	if set[0].Revents&unix.POLLERR != 0 {
		return errParentGone
	}
	return nil
}
