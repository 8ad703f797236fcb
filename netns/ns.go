// Package netns works inside network namespaces: it runs functions in them, reads what they hold as plain data, and
// connects their interfaces to tap devices. It knows nothing of virtual machines.
//
// A namespace is named by a path: a bind mount such as /run/netns/NAME, or /proc/PID/ns/net. Nothing here keeps a
// namespace alive after the call, except Watch while it runs and a Tap's files.
package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNotNamespace says that a path exists but is no network namespace. The empty file that stays behind when the bind
// mount of a namespace is gone gives this error too.
var ErrNotNamespace = errors.New("not a network namespace")

// ErrUnsupported says that a namespace holds something that State cannot express.
var ErrUnsupported = errors.New("not supported")

var errGoexit = errors.New("function ended its goroutine")

// threadNS is the namespace of the calling thread; /proc/self would be the main thread's.
const threadNS = "/proc/thread-self/ns/net"

// Identity is what makes a namespace unique while it lives.
type Identity struct {
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
}

// Inode identifies the namespace at path. A missing path gives fs.ErrNotExist, another kind of file ErrNotNamespace.
func Inode(path string) (Identity, error) {
	f, err := open(path)
	if err != nil {
		return Identity{}, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Identity{}, &fs.PathError{Op: "fstat", Path: path, Err: err}
	}
	return Identity{Dev: st.Dev, Ino: st.Ino}, nil
}

// IsHost says whether the namespace at path is that of PID 1, or our own where PID 1's cannot be read.
func IsHost(path string) (bool, error) {
	id, err := Inode(path)
	if err != nil {
		return false, err
	}
	host, err := Inode("/proc/1/ns/net")
	if err != nil {
		host, err = Inode(threadNS)
	}
	return id == host, err
}

// Do runs fn on a thread inside the namespace at path and returns fn's error. fn runs in a goroutine of its own; a
// goroutine that it starts is outside the namespace again, a socket or process that it makes stays inside.
func Do(path string, fn func() error) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return doIn(f, fn)
}

func doIn(ns *os.File, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		result := errGoexit
		defer func() { done <- result }()
		result = runInside(ns, fn)
	}()
	return <-done
}

// runInside moves the calling goroutine's thread to the namespace and back. When it cannot be moved back it stays
// locked, and the runtime ends it together with the goroutine.
func runInside(ns *os.File, fn func() error) error {
	runtime.LockOSThread()
	home, err := os.Open(threadNS)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return &fs.PathError{Op: "setns", Path: ns.Name(), Err: err}
	}
	defer func() {
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return fn()
}

// withHandle runs fn inside the namespace with a netlink handle that is closed afterwards.
func withHandle(path string, fn func(*netlink.Handle) error) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return handleIn(f, fn)
}

// ifAlive is withHandle for clean-up: it does nothing when there is no such namespace any more.
func ifAlive(path string, fn func(*netlink.Handle) error) error {
	f, err := open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, ErrNotNamespace) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return handleIn(f, fn)
}

func handleIn(ns *os.File, fn func(*netlink.Handle) error) error {
	return doIn(ns, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink socket: %w", err)
		}
		defer h.Close()
		return fn(h)
	})
}

// open opens a network namespace. O_NONBLOCK is for paths that are something else, such as a FIFO.
func open(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNotNamespace}
	}
	return os.NewFile(uintptr(fd), path), nil
}
