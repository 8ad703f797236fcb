// Package hostoom repeats in a host cgroup what happened in a guest: it makes the kernel kill a process of that cgroup
// because memory ran out. Whoever watches the cgroup for that (conmon, containerd's shim) then reports it as it would
// for a container that runs on the host. The process that dies is a helper which exists for nothing else.
package hostoom

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// VictimCommand is the hidden command of this program that is killed: the program must call VictimMain for it.
const VictimCommand = "oom-victim"

// victimFD is where Kill puts the cgroup's directory in the victim.
const victimFD = 3

// patience bounds the victim's life, for a cgroup whose OOM killer is switched off.
const patience = 10 * time.Second

// files are the names that the two versions of cgroups have for the same.
type files struct {
	limit, usage string
	// calm are written for the time of the kill: no swapping, which would only put it off, and nobody dies but the victim.
	calm map[string]string
}

var (
	version1 = files{"memory.limit_in_bytes", "memory.usage_in_bytes", map[string]string{"memory.swappiness": "0"}}
	version2 = files{"memory.max", "memory.current", map[string]string{"memory.swap.max": "0", "memory.oom.group": "0"}}
)

// Group is an open memory cgroup.
type Group struct {
	dir   *os.File
	files files
}

// Open opens the memory cgroup at dir. What is opened stays in reach when the caller changes its root. The caller calls
// Close.
func Open(dir string) (*Group, error) {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("memory cgroup: %w", err)
	}
	g := &Group{dir: f, files: version2}
	if unix.Faccessat(int(f.Fd()), version1.limit, unix.F_OK, 0) == nil {
		g.files = version1
	}
	return g, nil
}

// Close closes the cgroup's directory. Idempotent; a nil group is closed already.
func (g *Group) Close() error {
	if g == nil {
		return nil
	}
	if err := g.dir.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Kill makes the kernel kill a process in the cgroup, of which the calling process must be a member, for memory. The
// cgroup's limit is lowered for that moment.
func (g *Group) Kill() error {
	limit, err := g.read(g.files.limit)
	if err != nil {
		return err
	}
	restore := map[string]string{g.files.limit: limit}
	for name, value := range g.files.calm {
		old, err := g.read(name)
		if err != nil {
			continue // the kernel has no such file
		}
		if g.write(name, value) == nil {
			restore[name] = old
		}
	}
	err = g.runVictim()
	for name, value := range restore {
		err = errors.Join(err, g.write(name, value))
	}
	return err
}

// runVictim starts the victim and waits for its death.
func (g *Group) runVictim() error {
	// Its standard streams must be open, but a container's root need not have a /dev/null.
	p, err := os.StartProcess("/proc/self/exe", []string{"runvm", VictimCommand}, &os.ProcAttr{
		Env: []string{"GOMAXPROCS=1"}, Files: []*os.File{g.dir, g.dir, g.dir, g.dir},
	})
	if err != nil {
		return fmt.Errorf("start the process to be killed: %w", err)
	}
	timer := time.AfterFunc(patience, func() { _ = p.Kill() })
	defer timer.Stop()
	state, err := p.Wait()
	if err != nil {
		return fmt.Errorf("wait for the process to be killed: %w", err)
	}
	if status, ok := state.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		return fmt.Errorf("the kernel killed nobody: %v", state)
	}
	return nil
}

func (g *Group) read(name string) (string, error) {
	f, err := g.open(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text := make([]byte, 64)
	n, err := f.Read(text)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text[:n])), nil
}

func (g *Group) write(name, value string) error {
	f, err := g.open(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

func (g *Group) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(g.dir.Fd()), name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// usage is how much memory the cgroup uses, in bytes.
func (g *Group) usage() (uint64, error) {
	text, err := g.read(g.files.usage)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}
