package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/internal/pidfd"
	"github.com/runvm/runvm/internal/unixsock"
	"github.com/runvm/runvm/sandbox"
)

// Stage is the name of the hidden command that Main implements.
const Stage = "monitor"

// Sockets are the names of a monitor's sockets in Directory.
type Sockets struct {
	Directory, Monitor, Agent string
}

// At names the sockets of the monitor whose sandbox has the given directory.
func At(d container.SandboxDir) Sockets {
	return Sockets{Directory: string(d), Monitor: d.MonitorSocket(), Agent: d.AgentSocket()}
}

// Process is a monitor as its creator sees it.
type Process struct {
	pidfd.Process
	control *os.File
	command *exec.Cmd
}

// Start starts a monitor, with a mount namespace of its own, in the network namespace of the calling thread. It waits
// for Boot. logFlags are the global flags that make it log as its parent does. The caller calls Boot, then Commit or Kill.
func Start(logFlags []string) (*Process, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer far.Close()
	cmd := exec.Command("/proc/self/exe", append(logFlags, Stage)...)
	cmd.Args[0] = "runvm"
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{far}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the sandbox's monitor: %w", err), near.Close())
	}
	p, err := pidfd.Find(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		return nil, errors.Join(err, near.Close())
	}
	return &Process{Process: p, control: near, command: cmd}, nil
}

// Boot makes the monitor boot its sandbox and waits until it runs.
func (p *Process) Boot(ctx context.Context, c sandbox.Config, s Sockets) error {
	conn, err := net.FileConn(p.control)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := writeLine(conn, setup{Sandbox: c, Directory: s.Directory, Monitor: s.Monitor, Agent: s.Agent}); err != nil {
		return fmt.Errorf("the sandbox's monitor ended: %w", err)
	}
	if err := readReply(conn); err != nil {
		return errors.Join(err, ctx.Err())
	}
	return nil
}

// Commit lets the sandbox live as long as containers are attached to it.
func (p *Process) Commit() error {
	return errors.Join(p.control.Close(), p.command.Process.Release())
}

// Kill undoes Start and Boot: the monitor takes down what it made and ends; one that does not is killed.
func (p *Process) Kill() error {
	_ = p.control.Close()
	timer := time.AfterFunc(stopTimeout, func() { _ = p.command.Process.Kill() })
	defer timer.Stop()
	_ = p.command.Wait()
	return nil
}

// stopTimeout bounds how long a monitor may take to take its sandbox down.
const stopTimeout = 15 * time.Second

// StopTimeout is how long others wait for a monitor before they kill it.
const StopTimeout = stopTimeout

// Hold is a container's place in a sandbox while create is at work on it.
type Hold struct{ conn *net.UnixConn }

// Join takes a place in a running sandbox for a container that is not a member; dir is its directory in the share.
// ErrEnding: the sandbox ends, or has ended. The caller closes the hold: then the container has to be attached, or
// everything of it in the sandbox is removed.
func Join(ctx context.Context, s Sockets, id, dir string) (*Hold, error) {
	conn, err := send(ctx, s, request{Op: opJoin, Container: id, Dir: dir})
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		err = ErrEnding
	}
	if err != nil {
		return nil, fmt.Errorf("join the sandbox: %w", err)
	}
	return &Hold{conn}, nil
}

// Share shows the guest a mount that sandbox.CloneMount made.
func (h *Hold) Share(ctx context.Context, m sandbox.Mount, f *os.File) error {
	return h.bring(ctx, item{Mount: &m}, f)
}

// Plug gives the guest a block device that sandbox.OpenDisk opened.
func (h *Hold) Plug(ctx context.Context, d sandbox.Disk, f *os.File) error {
	return h.bring(ctx, item{Disk: &d}, f)
}

func (h *Hold) bring(ctx context.Context, i item, f *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = h.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := writeItem(h.conn, i, f); err != nil {
		return fmt.Errorf("the sandbox's monitor ended: %w", err)
	}
	return readReply(h.conn)
}

// Close gives the place up, unless the container has been attached. Idempotent.
func (h *Hold) Close() error {
	if err := h.conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Remove returns when the sandbox has let go of a container that has ended, or is gone itself.
func Remove(ctx context.Context, s Sockets, id string) error {
	conn, err := send(ctx, s, request{Op: opRemove, Container: id})
	if err == nil {
		return conn.Close()
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait until the sandbox has let go of container %s: %w", id, ctx.Err())
	}
	return nil // a monitor that has ended, or ends, has nothing
}

// Attach makes the returned connection a container's lifeline.
func Attach(ctx context.Context, s Sockets, id string) (*net.UnixConn, error) {
	conn, err := send(ctx, s, request{Op: opAttach, Container: id})
	if err != nil {
		return nil, fmt.Errorf("attach to the sandbox: %w", err)
	}
	return conn, nil
}

// AttachExec makes the returned connection the lifeline of a process that exec has started.
func AttachExec(ctx context.Context, s Sockets, id, execID string) (*net.UnixConn, error) {
	conn, err := send(ctx, s, request{Op: opAttachExec, Container: id, Exec: execID})
	if err != nil {
		return nil, fmt.Errorf("attach to the sandbox: %w", err)
	}
	return conn, nil
}

// UpdateNetwork makes the guest follow its network namespace.
func UpdateNetwork(ctx context.Context, s Sockets) error {
	conn, err := send(ctx, s, request{Op: opNetwork})
	if err != nil {
		return fmt.Errorf("update the sandbox's network: %w", err)
	}
	return conn.Close()
}

// send makes one request; the caller closes the connection.
func send(ctx context.Context, s Sockets, r request) (*net.UnixConn, error) {
	conn, err := unixsock.Dial(ctx, s.Directory, s.Monitor)
	if err != nil {
		return nil, fmt.Errorf("the sandbox's monitor does not answer: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err = writeLine(conn, r)
	if err == nil {
		err = readReply(conn)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// Agent connects to the agent of a running sandbox. The caller closes the client.
func Agent(ctx context.Context, s Sockets) (*agentclient.Client, error) {
	return agentclient.Dial(ctx, func(ctx context.Context) (net.Conn, error) { return DialAgent(ctx, s) })
}

// DialAgent opens a connection to the agent of a running sandbox.
func DialAgent(ctx context.Context, s Sockets) (*net.UnixConn, error) {
	return unixsock.Dial(ctx, s.Directory, s.Agent)
}
