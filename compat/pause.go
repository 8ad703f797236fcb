package compat

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/monitor"
)

// freezeTimeout bounds what the guest may take to freeze or thaw a container.
const freezeTimeout = time.Minute

// PauseCommand is "runvm pause".
func PauseCommand(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name: "pause", Usage: "pause suspends all processes inside the container", ArgsUsage: "<container-id>",
		Description: `The pause command suspends all processes in the instance of the container. The virtual machine itself goes on.`,
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 1); err != nil {
				return err
			}
			return freeze(c.Context, g, c.Args().First(), true)
		},
	}
}

// ResumeCommand is "runvm resume".
func ResumeCommand(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name: "resume", Usage: "resumes all processes that have been previously paused", ArgsUsage: "<container-id>",
		Description: `The resume command resumes all processes in the instance of the container.`,
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 1); err != nil {
				return err
			}
			return freeze(c.Context, g, c.Args().First(), false)
		},
	}
}

// freeze pauses or resumes a container. container.ErrNotRunning, container.ErrNotPaused: it is in the wrong state.
func freeze(ctx context.Context, g *globals.Globals, id string, frozen bool) error {
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	c, err := g.Load(id)
	if err != nil {
		return err
	}
	unlock, err := c.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	switch status := c.Status(); {
	case frozen && status != container.Running:
		return container.ErrNotRunning
	case !frozen && status != container.Paused:
		return container.ErrNotPaused
	}
	client, err := monitor.Agent(ctx, monitor.At(c.SandboxDir()))
	if err != nil {
		return err
	}
	defer client.Close()
	if frozen {
		_, err = client.Agent().PauseContainer(ctx, &agentproto.PauseContainerRequest{ContainerId: c.ID})
	} else {
		_, err = client.Agent().ResumeContainer(ctx, &agentproto.ResumeContainerRequest{ContainerId: c.ID})
	}
	if err != nil {
		return agentclient.FromStatus(err)
	}
	c.Frozen = frozen
	return c.Save()
}
