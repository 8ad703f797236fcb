// Package kill is runc's kill: it sends a signal to the container's process in the guest and returns.
package kill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/monitor"
)

// timeout bounds what a guest may take to deliver a signal.
const timeout = 10 * time.Second

// Command is "runvm kill".
func Command(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name:      "kill",
		Usage:     "kill sends the specified signal (default: SIGTERM) to the container's init process",
		ArgsUsage: "<container-id> [signal]",
		Description: `Where "<container-id>" is the name for the instance of the container and "[signal]" is the signal to be sent to the
init process: a number, or a name with or without SIG, real-time signals included.`,
		Flags: []cli.Flag{&cli.BoolFlag{
			Name: "all", Aliases: []string{"a"}, Usage: "send the signal to every process of the container",
		}},
		Action: func(c *cli.Context) error {
			if err := globals.MinMaxArgs(c, 1, 2); err != nil {
				return err
			}
			name := c.Args().Get(1)
			if name == "" {
				name = "SIGTERM"
			}
			signal, err := ParseSignal(name)
			if err != nil {
				return err
			}
			err = Run(c.Context, g, c.Args().First(), signal, c.Bool("all"))
			if errors.Is(err, container.ErrNotRunning) && c.Bool("all") {
				return nil
			}
			return err
		},
	}
}

// Run sends the signal. container.ErrNotRunning: there is nobody to send it to.
func Run(ctx context.Context, g *globals.Globals, id string, signal unix.Signal, all bool) error {
	c, err := g.Load(id)
	if err != nil {
		return err
	}
	if s := c.Status(); s == container.Stopped || s == container.Creating {
		return container.ErrNotRunning
	}
	if signal == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err = signalGuest(ctx, c, signal, all)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errUnanswered) && c.Shim.Wait(ctx) == nil:
		// The signal, as far as anybody can tell, ended the container, and its sandbox with it before the answer came.
		return nil
	case !c.Shim.Alive(), errors.Is(err, agentclient.ErrNotFound):
		return container.ErrNotRunning
	case errors.Is(err, agentclient.ErrUnavailable) && c.Shim.Wait(ctx) == nil:
		// The sandbox was being taken down.
		return container.ErrNotRunning
	case signal == unix.SIGKILL:
		// The guest does not answer. Its monitor takes the sandbox down when the shim goes.
		if err := c.Shim.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		return nil
	default:
		return err
	}
}

func signalGuest(ctx context.Context, c *container.Container, signal unix.Signal, all bool) error {
	client, err := monitor.Agent(ctx, monitor.At(c.SandboxDir()))
	if err != nil {
		return err
	}
	defer client.Close()
	request := &agentproto.SignalProcessRequest{
		Process: &agentproto.Process{ContainerId: c.ID}, Signal: uint32(signal), All: all,
	}
	_, err = client.Agent().SignalProcess(ctx, request)
	if err = agentclient.FromStatus(err); errors.Is(err, agentclient.ErrUnavailable) {
		return fmt.Errorf("%w: %w", errUnanswered, err)
	}
	return err
}

// errUnanswered says that the guest was asked and did not answer.
var errUnanswered = errors.New("no answer from the guest")
