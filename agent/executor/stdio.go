package executor

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agent/process"
	"github.com/runvm/runvm/agentproto"
)

// stdio is what a process gets as its stdio, before and after its start.
type stdio struct {
	streams *process.Streams // nil for a terminal until attach
	child   *process.Child
	console *os.File // where the pty's master arrives
	files   *process.Files
}

// newFiles gives lp the files that it gets besides its stdio.
func newFiles(lp *libcontainer.Process, config *configs.Config, list []*agentproto.PassedFile) (*process.Files, error) {
	uid, gid, err := rootIDs(config)
	if err != nil {
		return nil, err
	}
	files, err := process.NewFiles(list, uid, gid)
	if err != nil {
		return nil, err
	}
	lp.ExtraFiles = files.Child()
	return files, nil
}

// rootIDs are the ids that the container's root has in the guest.
func rootIDs(config *configs.Config) (uid, gid int, err error) {
	if uid, err = config.HostRootUID(); err != nil {
		return 0, 0, err
	}
	gid, err = config.HostRootGID()
	return uid, gid, err
}

// newStdio gives lp pipes, or a socket through which libcontainer sends the master of the pty that it makes.
func newStdio(lp *libcontainer.Process, config *configs.Config, terminal bool) (*stdio, error) {
	if terminal {
		return newConsole(lp)
	}
	uid, gid, err := rootIDs(config)
	if err != nil {
		return nil, err
	}
	streams, child, err := process.Pipes(uid, gid)
	if err != nil {
		return nil, err
	}
	lp.Stdin, lp.Stdout, lp.Stderr = child.Stdin, child.Stdout, child.Stderr
	return &stdio{streams: streams, child: child}, nil
}

func newConsole(lp *libcontainer.Process) (*stdio, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("console socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "console"), os.NewFile(uintptr(fds[1]), "console")
	lp.ConsoleSocket = theirs
	return &stdio{console: ours, child: &process.Child{Stdin: theirs}}, nil
}

// attach completes the streams once the process has started.
func (s *stdio) attach() error {
	if s.console != nil {
		master, err := receiveFile(s.console)
		if err != nil {
			return fmt.Errorf("receive the terminal: %w", err)
		}
		s.streams = process.Terminal(master)
	}
	s.streams.TakeFiles(s.files)
	return nil
}

// closeChild closes what only the process needs, once it has started or failed to.
func (s *stdio) closeChild() {
	s.child.Close()
	s.files.CloseChild()
	if s.console != nil {
		_ = s.console.Close()
	}
}

// discard closes the agent's side of a process that did not start.
func (s *stdio) discard() {
	s.files.Close()
	if s.streams != nil {
		s.streams.Close()
	}
}

// receiveFile takes the one file that waits in a socket. libcontainer's child has sent it before its start is over.
func receiveFile(socket *os.File) (*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	name := make([]byte, unix.PathMax)
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), name, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, errors.New("no file arrived")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New("no file arrived"), err)
	}
	// Only a file that does not block can be waited for without a thread.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, errors.Join(err, unix.Close(fds[0]))
	}
	return os.NewFile(uintptr(fds[0]), "pty"), nil
}
