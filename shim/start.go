package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/runvm/runvm/internal/namespace"
	"github.com/runvm/runvm/internal/pidfd"
)

// Stage is the value of StageVariable that makes the program a shim. A variable and not an argument, because the shim's
// arguments are those of the container's process: that is what "podman top" shows.
const (
	StageVariable = "_RUNVM_STAGE"
	Stage         = "shim"
)

// Options say how a shim is born.
type Options struct {
	Stdin, Stdout, Stderr *os.File // with Terminal all three are the slave of a pty
	Terminal              bool
	Args                  []string // to show as its command line
	Isolate               bool     // give it a mount namespace of its own
	// New are the further namespaces that it gets for itself, Join those that it gets by path; the others are the caller's.
	New      []namespace.Kind
	Join     map[namespace.Kind]string
	LogFlags []string   // global flags that make it log as its parent does
	Files    []*os.File // to forward as the process's descriptors from 3 on; Config has their kinds
}

// Process is a shim as its parent sees it.
type Process struct {
	pidfd.Process
	Command *exec.Cmd
	control *net.UnixConn
}

// handshakeTimeout bounds each answer of a new shim. Nothing in it waits for the guest.
const handshakeTimeout = 60 * time.Second

// Start starts a shim. It does nothing until Prepare. The caller calls Attach or Kill in the end.
func Start(o Options) (*Process, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer far.Close()
	control, err := net.FileConn(near)
	_ = near.Close()
	if err != nil {
		return nil, err
	}
	args := o.Args
	if len(args) == 0 {
		args = []string{"runvm"}
	}
	flags, err := json.Marshal(o.LogFlags)
	if err != nil {
		return nil, errors.Join(err, control.Close())
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: args, Dir: "/",
		Env:   []string{StageVariable + "=" + Stage, FlagsVariable + "=" + string(flags), "GOMAXPROCS=2"},
		Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, ExtraFiles: append([]*os.File{far}, o.Files...),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: o.Terminal, Ctty: 0, Cloneflags: cloneFlags(o)},
	}
	if err := namespace.Do(o.Join, cmd.Start); err != nil {
		return nil, errors.Join(fmt.Errorf("start the container's shim: %w", err), control.Close())
	}
	p, err := pidfd.Find(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		return nil, errors.Join(err, control.Close())
	}
	return &Process{Process: p, Command: cmd, control: control.(*net.UnixConn)}, nil
}

// FlagsVariable carries the global flags, as a JSON list.
const FlagsVariable = "_RUNVM_FLAGS"

func cloneFlags(o Options) uintptr {
	var flags uintptr
	for _, kind := range o.New {
		flags |= kind.Flag()
	}
	if o.Isolate {
		flags |= syscall.CLONE_NEWNS
	}
	return flags
}

// Prepare hands over the configuration and waits until the shim stands in its namespaces.
func (p *Process) Prepare(c Config) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("the container's mounts take %d bytes, more than %d", len(data), maxMessage)
	}
	if err := p.control.SetWriteBuffer(2 * len(data)); err != nil {
		return err
	}
	if _, err := p.control.Write(data); err != nil {
		return fmt.Errorf("configure the container's shim: %w", err)
	}
	return readStatus(p.control, time.Now().Add(handshakeTimeout))
}

// Attach gives the shim its connection to the agent and its lifeline to the monitor; then it waits until the shim
// reaches the agent. Both connections stay the caller's to close.
func (p *Process) Attach(ctx context.Context, agent, lifeline *net.UnixConn) error {
	defer p.control.Close()
	var files []*os.File
	for _, c := range []*net.UnixConn{agent, lifeline} {
		f, err := c.File()
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	if err := sendFiles(p.control, files...); err != nil {
		return fmt.Errorf("attach the container's shim: %w", err)
	}
	deadline := time.Now().Add(handshakeTimeout)
	if d, ok := ctx.Deadline(); ok {
		deadline = d
	}
	return readStatus(p.control, deadline)
}

// Kill ends and reaps a shim.
func (p *Process) Kill() error {
	_ = p.control.Close()
	_ = p.Command.Process.Kill()
	_ = p.Command.Wait()
	return nil
}
