package compat

import (
	"context"
	"errors"
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
		return pause(ctx, client, c)
	}
	return resume(ctx, client, c)
}

// pause writes down first that the container is paused: one that is frozen and not known to be could not be resumed.
func pause(ctx context.Context, client *agentclient.Client, c *container.Container) error {
	c.Frozen = true
	if err := c.Save(); err != nil {
		return err
	}
	_, err := client.Agent().PauseContainer(ctx, &agentproto.PauseContainerRequest{ContainerId: c.ID})
	if err == nil {
		return nil
	}
	err = agentclient.FromStatus(err)
	if ctx.Err() != nil {
		return err // it may be frozen: resume is the way out
	}
	c.Frozen = false
	return errors.Join(err, c.Save())
}

func resume(ctx context.Context, client *agentclient.Client, c *container.Container) error {
	_, err := client.Agent().ResumeContainer(ctx, &agentproto.ResumeContainerRequest{ContainerId: c.ID})
	if err != nil {
		return agentclient.FromStatus(err)
	}
	c.Frozen = false
	return c.Save()
}
