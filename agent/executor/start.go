package executor

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agent/process"
	"github.com/runvm/runvm/agentproto"
)

// startInit starts a container's first process.
func (c *Container) startInit(spec *specs.Process, size *process.Size, files []*agentproto.PassedFile) error {
	lp, err := newProcess(spec)
	if err != nil {
		return err
	}
	lp.Init = true
	p, err := c.start(c.lc, lp, startOptions{spec.Terminal, size, files, c.initEnded})
	if err != nil {
		return err
	}
	c.Init = p
	return nil
}

// startOptions is what a process is started with beside libcontainer's description.
type startOptions struct {
	terminal bool
	size     *process.Size // of the terminal; nil for the description's
	files    []*agentproto.PassedFile
	ended    func(*process.Exit)
}

// start starts lp in lc and returns it with its stdio.
func (c *Container) start(
	lc *libcontainer.Container, lp *libcontainer.Process, o startOptions,
) (*process.Process, error) {
	if o.size != nil {
		lp.ConsoleHeight, lp.ConsoleWidth = o.size.Height, o.size.Width
	}
	config := lc.Config()
	files, err := newFiles(lp, &config, o.files)
	if err != nil {
		return nil, err
	}
	s, err := newStdio(lp, &config, o.terminal)
	if err != nil {
		files.CloseChild()
		files.Close()
		return nil, err
	}
	s.files = files
	defer s.closeChild()
	c.e.slots <- struct{}{}
	defer func() { <-c.e.slots }()

	var pid, pidfd int
	err = c.e.reaper.Start(func() (int, error) {
		if err := lc.Start(lp); err != nil {
			return 0, err
		}
		pid, pidfd, err = c.started(lp, s)
		return pid, err
	})
	if err != nil {
		s.discard()
		return nil, err
	}
	wait := func() (syscall.WaitStatus, error) {
		defer c.e.reaper.Done(pid)
		return waitFor(lp, pidfd)
	}
	return process.New(pid, s.streams, process.Ops{Wait: wait, Signal: signaller(lp), Ended: o.ended}), nil
}

// started completes a start. The pid cannot be reused as long as nobody has waited for it.
func (c *Container) started(lp *libcontainer.Process, s *stdio) (pid, pidfd int, err error) {
	defer func() {
		if err != nil {
			_ = lp.Signal(unix.SIGKILL)
			_, _ = lp.Wait()
		}
	}()
	if pid, err = lp.Pid(); err != nil {
		return 0, 0, err
	}
	if err := s.attach(); err != nil {
		return 0, 0, err
	}
	pidfd, err = unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return 0, 0, fmt.Errorf("pidfd_open: %w", err)
	}
	return pid, pidfd, nil
}

// waitFor reaps a process when it has ended. It waits in Go's poller rather than in a thread of its own: there may be
// many processes. It takes over pidfd.
func waitFor(lp *libcontainer.Process, pidfd int) (syscall.WaitStatus, error) {
	f := os.NewFile(uintptr(pidfd), "pidfd")
	defer f.Close()
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Read(func(fd uintptr) bool {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, 0)
			return n > 0 || (err != nil && err != unix.EINTR) // errors of package unix are bare
		})
	}
	state, err := lp.Wait()
	if state == nil {
		return 0, err
	}
	return state.Sys().(syscall.WaitStatus), nil
}

func signaller(lp *libcontainer.Process) func(unix.Signal) error {
	return func(s unix.Signal) error {
		err := lp.Signal(s)
		if errors.Is(err, unix.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}
