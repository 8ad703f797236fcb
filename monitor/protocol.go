// Package monitor is the long-lived process that owns a sandbox: it boots the VM, serves requests about it, notices
// when its last container ends, and takes everything down. Start is its parent's side, Main its own.
package monitor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/sandbox"
)

// setup is what create writes to a new monitor's control socket, as one line of JSON. The monitor answers with a reply
// when the sandbox has booted. create keeps the socket open until its container is complete: a monitor that sees it
// close while it has no container takes the sandbox down.
type setup struct {
	Sandbox   sandbox.Config
	Directory string // holds the sockets
	Monitor   string // name of the request socket
	Agent     string // name of the socket that leads to the agent
}

// operation names a request to a running monitor.
type operation string

const (
	// opJoin makes the connection hold a place in the sandbox for a container, until create closes it: the sandbox
	// does not end meanwhile. Each further line on it is an item, sent together with a descriptor, and gets a reply. A
	// container that was not attached when the connection closes is removed.
	opJoin operation = "join"
	// opAttach makes the connection the lifeline of a container that has joined: its closing tells the monitor that the
	// container has ended, and the monitor's end of it closes when the container's share, or the sandbox, is gone.
	opAttach operation = "attach"
	// opRemove is answered when nothing is left of a container whose lifeline has closed.
	opRemove operation = "remove"
	// opAttachExec makes the connection the lifeline of a process that exec started: if it closes before the process
	// has ended, the process is killed, as it would be if it were the host process that stands for it.
	opAttachExec operation = "attach-exec"
	// opNetwork makes the guest follow the network namespace.
	opNetwork operation = "network"
)

// request is one line of JSON on the request socket.
type request struct {
	Op        operation `json:"op"`
	Container string    `json:"container,omitempty"`
	Dir       string    `json:"dir,omitempty"` // join: the container's directory in the share
	Exec      string    `json:"exec,omitempty"`
}

// reply answers a setup or a request.
type reply struct {
	Error  string `json:"error,omitempty"`
	Ending bool   `json:"ending,omitempty"` // the error is ErrEnding
}

// ErrEnding says that a sandbox cannot be joined any more: its last container has ended.
var ErrEnding = errors.New("the sandbox is being taken down")

// maxLine bounds a line of either protocol, in bytes.
const maxLine = 1 << 20

// readLine decodes one line of JSON and reads nothing beyond it.
func readLine(r io.Reader, v any) error {
	var line []byte
	var b [1]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		if b[0] == '\n' {
			break
		}
		if line = append(line, b[0]); len(line) > maxLine {
			return errors.New("line too long")
		}
	}
	return json.Unmarshal(line, v)
}

func writeLine(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(data, '\n'))
	return err
}

// answer reports a request's outcome.
func answer(c net.Conn, err error) error {
	var r reply
	if err != nil {
		r.Error, r.Ending = err.Error(), errors.Is(err, ErrEnding)
	}
	return writeLine(c, r)
}

// readReply turns an answer back into an error.
func readReply(r io.Reader) error {
	var a reply
	if err := readLine(r, &a); err != nil {
		return fmt.Errorf("the sandbox's monitor ended: %w", err)
	}
	switch {
	case a.Ending:
		return ErrEnding
	case a.Error != "":
		return errors.New(a.Error)
	}
	return nil
}

// item is something of the host's that a container brings into the sandbox; its descriptor comes with it.
type item struct {
	Mount *sandbox.Mount `json:",omitempty"` // made by sandbox.CloneMount
	Disk  *sandbox.Disk  `json:",omitempty"` // opened by sandbox.OpenDisk
}

// writeItem sends a line together with a file.
func writeItem(c *net.UnixConn, i item, f *os.File) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	data = append(data, '\n')
	n, _, err := c.WriteMsgUnix(data, unix.UnixRights(int(f.Fd())), nil)
	if err == nil && n < len(data) {
		_, err = c.Write(data[n:])
	}
	return err
}

// readItem receives what writeItem sent. The caller closes the file. The descriptor comes with the first byte, unix(7).
func readItem(c *net.UnixConn) (i item, f *os.File, err error) {
	first, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.ReadMsgUnix(first, oob)
	if err != nil {
		return i, nil, err
	}
	if n == 0 {
		return i, nil, io.EOF
	}
	if f, err = passedFile(oob[:oobn]); err != nil {
		return i, nil, err
	}
	if err := readLine(io.MultiReader(bytes.NewReader(first), c), &i); err != nil {
		return i, nil, errors.Join(err, f.Close())
	}
	return i, f, nil
}

var errNoDescriptor = errors.New("what a container brings came without its descriptor")

func passedFile(oob []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return nil, errNoDescriptor
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errNoDescriptor
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "item"), nil
}
