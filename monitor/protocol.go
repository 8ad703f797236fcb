// Package monitor is the long-lived process that owns a sandbox: it boots the VM, serves requests about it, notices
// when its last container ends, and takes everything down. Start is its parent's side, Main its own.
package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/runvm/runvm/sandbox"
)

// setup is what create writes to a new monitor's control socket, as one line of JSON. The monitor answers with a reply
// when the sandbox has booted. create keeps the socket open until its container is complete: a monitor that sees it
// close while no container is attached takes the sandbox down.
type setup struct {
	Sandbox   sandbox.Config
	Directory string // holds the sockets
	Monitor   string // name of the request socket
	Agent     string // name of the socket that leads to the agent
}

// operation names a request to a running monitor.
type operation string

const (
	// opAttach makes the connection the lifeline of a container: its closing tells the monitor that the container
	// has ended, and the monitor's end of it closes when the sandbox is gone.
	opAttach operation = "attach"
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
	Exec      string    `json:"exec,omitempty"`
}

// reply answers a setup or a request.
type reply struct {
	Error string `json:"error,omitempty"`
}

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
		r.Error = err.Error()
	}
	return writeLine(c, r)
}

// readReply turns an answer back into an error.
func readReply(r io.Reader) error {
	var a reply
	if err := readLine(r, &a); err != nil {
		return fmt.Errorf("the sandbox's monitor ended: %w", err)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}
