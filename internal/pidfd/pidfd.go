// Package pidfd names processes in a way that outlives this process and is safe against recycled process ids: a pid
// with its start time. Signals and waiting go through a pidfd, taken before the start time is compared.
package pidfd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process identifies a process of this boot and PID namespace. The zero value is no process and never alive.
type Process struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"` // clock ticks after boot, proc_pid_stat(5) field 22
}

// Find identifies the process that has the pid now. os.ErrProcessDone: there is none.
func Find(pid int) (Process, error) {
	if pid <= 0 {
		return Process{}, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	s, err := readStat(pid)
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, gone(err))
	}
	return Process{PID: pid, StartTime: s.startTime}, nil
}

// Alive says whether the process has not ended. A zombie has.
func (p Process) Alive() bool {
	if p.PID <= 0 {
		return false
	}
	s, err := readStat(p.PID)
	return err == nil && s.startTime == p.StartTime && !s.dead()
}

// Signal sends a signal. os.ErrProcessDone: the process has ended, be it reaped or not.
func (p Process) Signal(sig syscall.Signal) error {
	f, err := p.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0); err != nil {
		return fmt.Errorf("signal process %d: %w", p.PID, gone(err))
	}
	return nil
}

// Wait returns nil when the process has ended, or the context's error. It does not reap.
func (p Process) Wait(ctx context.Context) error {
	f, err := p.Open()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", p.PID, err)
	}
	// A pidfd becomes readable when its process ends, pidfd_open(2); the runtime's poller does the waiting.
	err = conn.Read(readable)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", p.PID, err)
	}
	return nil
}

// readable says whether a descriptor is readable now.
func readable(fd uintptr) bool {
	set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(set, 0)
	return err == nil && n > 0
}

// Open returns a pidfd, non-blocking and close-on-exec, that the caller closes. os.ErrProcessDone: the process has
// ended, be it reaped or not.
func (p Process) Open() (*os.File, error) {
	if p.PID <= 0 {
		return nil, fmt.Errorf("process %d: %w", p.PID, os.ErrProcessDone)
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: pidfd_open: %w", p.PID, gone(err))
	}
	// Only what is checked after the pidfd is held says something about the process behind it.
	if !p.Alive() {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("process %d: %w", p.PID, os.ErrProcessDone)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("process %d: %w", p.PID, err)
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("pidfd:%d", p.PID)), nil
}

// gone turns the kernel's ways to say that there is no such process into os.ErrProcessDone.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrNotExist) {
		return os.ErrProcessDone
	}
	return err
}
