// Package delete is runc's delete: it removes everything that a container has on the host. It relies on no other
// process being alive, so that it works after any of them was killed.
package delete

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/hooks"
	"github.com/runvm/runvm/monitor"
	"github.com/runvm/runvm/pod"
)

// Command is "runvm delete".
func Command(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name:      "delete",
		Usage:     "delete any resources held by the container often used with detached container",
		ArgsUsage: "<container-id>",
		Description: `Where "<container-id>" is the name for the instance of the container. A container that is created or stopped is
removed; a running one only with --force.`,
		Flags: []cli.Flag{&cli.BoolFlag{
			Name: "force", Aliases: []string{"f"},
			Usage: "Forcibly deletes the container if it is still running (uses SIGKILL)",
		}},
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 1); err != nil {
				return err
			}
			return Run(c.Context, g, c.Args().First(), c.Bool("force"))
		},
	}
}

// Run deletes a container. With force one that does not exist is no error.
func Run(ctx context.Context, g *globals.Globals, id string, force bool) error {
	c, err := g.Load(id)
	if err == nil {
		err = remove(ctx, g, c, force)
	}
	if force && errors.Is(err, container.ErrNotExist) {
		return nil
	}
	return err
}

func remove(ctx context.Context, g *globals.Globals, c *container.Container, force bool) error {
	// create holds the lock while it is at work, and need not come to an end by itself.
	if c.Status() == container.Creating {
		if !force {
			return notStopped(c)
		}
		if err := endCreator(ctx, c); err != nil {
			return err
		}
	}
	unlock, err := c.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if status := c.Status(); !force && status != container.Stopped && status != container.Created {
		return notStopped(c)
	}
	if err := endProcesses(ctx, c); err != nil {
		return err
	}
	if err := c.Remove(); err != nil {
		return err
	}
	poststop(g, c)
	return nil
}

func notStopped(c *container.Container) error {
	return fmt.Errorf("cannot delete container %s that is not stopped: %s", c.ID, c.Status())
}

// endCreator tells a create at work to take back what it has done; one that does not is killed, and the rest is
// delete's.
func endCreator(ctx context.Context, c *container.Container) error {
	if err := c.Creator.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end the create command of container %s: %w", c.ID, err)
	}
	bounded, cancel := context.WithTimeout(ctx, monitor.StopTimeout)
	defer cancel()
	if c.Creator.Wait(bounded) == nil {
		return nil
	}
	return pod.End(ctx, c.Creator)
}

// endProcesses ends the shim, with the sandbox if nobody else is in it, and whatever else is in the container's cgroup;
// then it removes the cgroup.
func endProcesses(ctx context.Context, c *container.Container) error {
	if err := pod.End(ctx, c.Shim); err != nil {
		return fmt.Errorf("end the container's shim: %w", err)
	}
	if s := c.SandboxOf(); s != nil {
		if err := pod.Leave(ctx, s, c.ID); err != nil {
			return err
		}
	}
	if len(c.Cgroup.Paths) == 0 {
		return nil
	}
	return pod.DestroyCgroup(ctx, c.ID, c.Cgroup)
}

// poststop runs the hooks of that name; the container is gone, so a failure is only logged (runtime-spec, lifecycle
// step 13).
func poststop(g *globals.Globals, c *container.Container) {
	if c.Bundle == "" {
		return
	}
	b, err := bundle.Load(c.Bundle)
	if err != nil || b.Spec.Hooks == nil {
		return // an engine may have removed the bundle before
	}
	err = hooks.Run(*b.Spec.Hooks, hooks.Poststop, hooks.State{
		Version: c.Version, ID: c.ID, Status: container.Stopped, Bundle: c.Bundle, Annotations: c.Annotations,
	})
	if err != nil {
		g.Logger.Warn(err)
	}
}
