// Package namespace identifies Linux namespaces and starts processes in them.
package namespace

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Kind is a kind of namespace by the name of its file in /proc/PID/ns.
type Kind string

// The kinds that matter here.
const (
	IPC  Kind = "ipc"
	Net  Kind = "net"
	PID  Kind = "pid"
	User Kind = "user"
	UTS  Kind = "uts"
)

// Kinds are those that a process can be started in here: all but User.
func Kinds() []Kind { return []Kind{IPC, Net, PID, UTS} }

// Flag is the kind's CLONE_NEW flag.
func (k Kind) Flag() uintptr {
	switch k {
	case IPC:
		return unix.CLONE_NEWIPC
	case Net:
		return unix.CLONE_NEWNET
	case PID:
		return unix.CLONE_NEWPID
	case UTS:
		return unix.CLONE_NEWUTS
	default:
		return 0
	}
}

// own is the calling thread's namespace: that of its children for PID, which is the one that setns(2) changes.
func (k Kind) own() string {
	if k == PID {
		return "/proc/thread-self/ns/pid_for_children"
	}
	return "/proc/thread-self/ns/" + string(k)
}

// ID identifies the namespace at path, as long as the namespace lives. Its letters are safe in a file name.
func ID(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("namespace path: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("namespace path %s: no inode", path)
	}
	return strconv.FormatUint(st.Dev, 10) + "-" + strconv.FormatUint(st.Ino, 10), nil
}

// IDOf identifies a namespace of a process.
func IDOf(pid int, kind Kind) (string, error) { return ID(PathOf(pid, kind)) }

// PathOf is where the namespace of a process is found.
func PathOf(pid int, kind Kind) string { return "/proc/" + strconv.Itoa(pid) + "/ns/" + string(kind) }

// Users lists the processes in a namespace, as far as we may see them.
func Users(kind Kind, id string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if its, err := IDOf(pid, kind); err == nil && its == id {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Do runs fn on a thread that has joined the namespaces at the paths, and returns fn's error. What fn starts is in them;
// in a PID namespace only the children are.
func Do(paths map[Kind]string, fn func() error) error {
	files := map[Kind]*os.File{}
	for kind, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("namespace path: %w", err)
		}
		defer f.Close()
		files[kind] = f
	}
	done := make(chan error, 1)
	go func() { done <- inside(files, fn) }()
	return <-done
}

// inside moves the calling goroutine's thread into the namespaces and back. If it cannot be moved back it stays locked,
// and the runtime ends it together with the goroutine.
func inside(files map[Kind]*os.File, fn func() error) (err error) {
	runtime.LockOSThread()
	home := true
	defer func() {
		if home {
			runtime.UnlockOSThread()
		}
	}()
	for kind, f := range files {
		own, err := os.Open(kind.own())
		if err != nil {
			return err
		}
		if err := unix.Setns(int(f.Fd()), int(kind.Flag())); err != nil {
			_ = own.Close()
			return &os.PathError{Op: "setns", Path: f.Name(), Err: err}
		}
		defer func() {
			home = unix.Setns(int(own.Fd()), int(kind.Flag())) == nil && home
			_ = own.Close()
		}()
	}
	return fn()
}
