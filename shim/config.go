// Package shim is the process that stands on the host for one process in a guest: its pid is the container's (or the
// exec's) pid, it carries stdio, window size and signals, and it exits as the guest process did. Start is the parent's
// side, Main the process itself.
//
// A container's shim has a PID namespace and a mount namespace of its own whose root is the container's root, so that
// engines which join the namespaces of the reported pid (podman cp, podman top) meet the container and never the host.
package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

// Config is what a shim is told: one line of JSON on its control socket.
type Config struct {
	ContainerID string
	ExecID      string // empty for a container's init
	Terminal    bool
	View        *View // nil: keep the caller's root
	// MemoryCgroup is the directory of the container's memory cgroup on the host, in which an OOM kill of the guest is
	// repeated for those who watch it; empty: it is not.
	MemoryCgroup string
	// OOMDir is the directory in which a file "oom" tells the engine of an OOM kill; empty: nobody looks for one.
	OOMDir string
	Files  []agentproto.PassedFile_Kind // what Options.Files are
	Notify string                       // the host's socket that gets what the container's notify socket does; empty for none
}

// View is the mount namespace of a container's shim: the container's root with its volumes, as the guest has them,
// without what exists in the guest only (tmpfs, /dev, /dev/shm).
type View struct {
	Rootfs   string // absolute host path
	ReadOnly bool
	Volumes  []Volume
}

// Volume is a bind mount in the view.
type Volume struct {
	Source      string // absolute host path
	Destination string // path in the container
	ReadOnly    bool
	Recursive   bool
	Dir         bool
}

// The handshake on the control socket, a SOCK_SEQPACKET pair:
//
//	parent                         shim
//	  │ Config                       │
//	  ├─────────────────────────────▶│ builds its view
//	  │                       status │
//	  │◀─────────────────────────────┤
//	  │ fds: agent, lifeline         │
//	  ├─────────────────────────────▶│ attaches to the guest process
//	  │                       status │
//	  │◀─────────────────────────────┤
//
// A side that sees the other's end before the last status gives up: the parent kills the shim, the shim exits.

// controlFD is where Start puts the control socket.
const controlFD = 3

// filesFD is where Start puts the first of Options.Files.
const filesFD = controlFD + 1

// maxMessage bounds a message of the handshake, in bytes; a config.json may hold hundreds of volumes.
const maxMessage = 4 << 20

// status is the shim's answer to each step.
type status struct {
	Error string `json:"error,omitempty"`
}

func sendStatus(c *net.UnixConn, err error) error {
	var s status
	if err != nil {
		s.Error = err.Error()
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = c.Write(data)
	return err
}

func readStatus(c *net.UnixConn, deadline time.Time) error {
	if err := c.SetReadDeadline(deadline); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	n, err := c.Read(buf)
	if err == nil && n == 0 || errors.Is(err, io.EOF) {
		return errors.New("the container's shim ended before it was ready")
	}
	if err != nil {
		return fmt.Errorf("wait for the container's shim: %w", err)
	}
	var s status
	if err := json.Unmarshal(buf[:n], &s); err != nil {
		return fmt.Errorf("the container's shim answered %q: %w", buf[:n], err)
	}
	if s.Error != "" {
		return errors.New(s.Error)
	}
	return nil
}

// sendFiles passes open files with a one-byte message.
func sendFiles(c *net.UnixConn, files ...*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	_, _, err := c.WriteMsgUnix([]byte{0}, unix.UnixRights(fds...), nil)
	return err
}

// receiveFiles takes what sendFiles sent.
func receiveFiles(c *net.UnixConn) ([]*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4*8))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("the parent of the shim ended before its container was ready")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		unix.CloseOnExec(fd)
		files[i] = os.NewFile(uintptr(fd), "passed")
	}
	return files, nil
}
