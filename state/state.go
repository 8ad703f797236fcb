// Package state is runc's state: it prints what is known of a container. It takes no lock, asks no other process and
// changes nothing.
package state

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/globals"
)

// View is a container as state and list print it, with runc's fields in runc's order.
type View struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	Status      container.Status  `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

// Of describes a container. A stopped one has pid 0. The owner is left empty: only list fills it, as in runc.
func Of(c *container.Container) View {
	v := View{
		Version: c.Version, ID: c.ID, PID: c.Shim.PID, Status: c.Status(), Bundle: c.Bundle, Rootfs: c.Rootfs,
		Created: c.Created, Annotations: c.Annotations,
	}
	if v.Status == container.Stopped {
		v.PID = 0
	}
	return v
}

// Owner names the owner of a container's directory: the user's name, or "#uid".
func Owner(c *container.Container) (string, error) {
	info, err := os.Stat(string(c.Dir()))
	if err != nil {
		return "", err
	}
	uid := strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username, nil
	}
	return "#" + uid, nil
}

// Command is "runvm state".
func Command(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name:        "state",
		Usage:       "output the state of a container",
		ArgsUsage:   "<container-id>",
		Description: `The state command outputs current state information for the instance of a container.`,
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 1); err != nil {
				return err
			}
			return Run(g, c.Args().First(), c.App.Writer)
		},
	}
}

// Run writes the state of a container as JSON.
func Run(g *globals.Globals, id string, w io.Writer) error {
	c, err := g.Load(id)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(Of(c), "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s", data)
	return err
}
