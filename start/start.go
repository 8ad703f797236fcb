// Package start is runc's start: it lets the user's program of a created container run.
package start

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/hooks"
	"github.com/runvm/runvm/monitor"
)

// timeout bounds what the guest may take to answer; the call waits for no program of the user's.
const timeout = 2 * time.Minute

// Command is "runvm start".
func Command(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name:        "start",
		Usage:       "executes the user defined process in a created container",
		ArgsUsage:   "<container-id>",
		Description: `The start command executes the user defined process in a created container.`,
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 1); err != nil {
				return err
			}
			return Run(c.Context, g, c.Args().First())
		},
	}
}

// Run starts the container and, for a service manager that wants to know, waits until it is ready.
func Run(ctx context.Context, g *globals.Globals, id string) error {
	ready, err := Start(ctx, g, id)
	if err != nil {
		return err
	}
	return ready.Relay(ctx, 0)
}

// Start starts the container. The caller relays or closes the first result, which may be nil.
func Start(ctx context.Context, g *globals.Globals, id string) (_ *Readiness, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := g.Load(id)
	if err != nil {
		return nil, err
	}
	unlock, err := c.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	switch status := c.Status(); status {
	case container.Created:
	case container.Stopped:
		return nil, errors.New("cannot start a container that has stopped")
	case container.Running:
		return nil, errors.New("cannot start an already running container")
	default:
		return nil, fmt.Errorf("cannot start a container in the %s state", status)
	}
	// Engines may have configured the namespace since create.
	if err := monitor.UpdateNetwork(ctx, monitor.At(c.SandboxDir())); err != nil {
		return nil, err
	}
	ready, err := listen(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			ready.Close()
		}
	}()
	if err = startInGuest(ctx, c); err != nil {
		return nil, err
	}
	c.Started = true
	if err = c.Save(); err != nil {
		return nil, err
	}
	poststart(g, c)
	return ready, nil
}

func startInGuest(ctx context.Context, c *container.Container) error {
	client, err := monitor.Agent(ctx, monitor.At(c.SandboxDir()))
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := client.Agent().StartContainer(ctx, &agentproto.StartContainerRequest{ContainerId: c.ID}); err != nil {
		return agentclient.FromStatus(err)
	}
	return nil
}

// poststart runs the hooks of that name. The program runs already: a failure is only logged (runtime-spec, lifecycle
// step 9).
func poststart(g *globals.Globals, c *container.Container) {
	b, err := bundle.Load(c.Bundle)
	if err != nil {
		g.Logger.Warnf("poststart hooks: %v", err)
		return
	}
	if b.Spec.Hooks == nil {
		return
	}
	err = hooks.Run(*b.Spec.Hooks, hooks.Poststart, hooks.State{
		Version: c.Version, ID: c.ID, Status: container.Running, PID: c.Shim.PID, Bundle: c.Bundle, Annotations: c.Annotations,
	})
	if err != nil {
		g.Logger.Warn(err)
	}
}
