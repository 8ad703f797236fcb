// Package compat holds the commands that runc has beside those of the runtime specification, one file each.
package compat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/console"
	"github.com/runvm/runvm/create"
	deletecmd "github.com/runvm/runvm/delete"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/shim"
	"github.com/runvm/runvm/start"
)

// RunCommand is "runvm run".
func RunCommand(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "create and run a container",
		ArgsUsage: "<container-id>",
		Description: `The run command creates an instance of a container for a bundle, in a virtual machine of its own or of
its pod, and runs it. Without --detach it stays until the container has ended and exits as the container's process did.`,
		Flags: append(create.Flags(),
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "detach from the container's process"},
			&cli.BoolFlag{Name: "keep", Usage: "do not delete the container after it exits"},
			&cli.BoolFlag{Name: "no-subreaper", Usage: "disable the use of the subreaper used to reap reparented processes"},
		),
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 1); err != nil {
				return err
			}
			o := create.FromFlags(c)
			o.Attached = !c.Bool("detach")
			code, err := run(c.Context, g, o, c.Bool("keep"))
			if err != nil {
				return fmt.Errorf("runvm run failed: %w", err)
			}
			return globals.Exit(code)
		},
	}
}

func run(ctx context.Context, g *globals.Globals, o create.Options, keep bool) (code int, err error) {
	// Deleting must not be cut short by the signal that made it necessary.
	cleanup := context.WithoutCancel(ctx)
	made, err := create.Run(ctx, g, o)
	if err != nil {
		return 0, err
	}
	remove := func() error { return deletecmd.Run(cleanup, g, o.ID, true) }
	stdio, err := attach(ctx, made.Shim, made.Console)
	if err != nil {
		return 0, errors.Join(err, remove())
	}
	ready, err := start.Start(ctx, g, o.ID)
	if err != nil {
		return 0, errors.Join(err, remove())
	}
	if !o.Attached {
		return 0, ready.Relay(ctx, 0)
	}
	// The service manager goes on watching this process, as with runc.
	go func() {
		if err := ready.Relay(cleanup, os.Getpid()); err != nil {
			g.Logger.Warn(err)
		}
	}()
	code, err = stdio.wait()
	if err != nil || !keep {
		err = errors.Join(err, remove())
	}
	return code, err
}

// attached is a shim in the foreground: a child of this process, whose signals it gets.
type attached struct {
	shim    *shim.Process
	finish  func() // restores the user's terminal
	signals chan os.Signal
}

// attach connects the user's terminal, if the process has one, and begins to forward signals.
func attach(ctx context.Context, p *shim.Process, pair *console.Pair) (*attached, error) {
	a := &attached{shim: p, signals: make(chan os.Signal, 128), finish: func() {}}
	if pair != nil {
		finish, err := pair.Relay(context.WithoutCancel(ctx))
		if err != nil {
			return nil, err
		}
		a.finish = finish
	}
	signal.Notify(a.signals)
	go a.forward()
	return a, nil
}

func (a *attached) forward() {
	for received := range a.signals {
		s, ok := received.(unix.Signal)
		if !ok {
			continue
		}
		switch s {
		case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGWINCH, unix.SIGTTOU, unix.SIGTTIN:
		default:
			_ = a.shim.Signal(s)
		}
	}
}

// wait returns the exit code of the process.
func (a *attached) wait() (int, error) {
	err := a.shim.Command.Wait()
	signal.Stop(a.signals)
	a.finish()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return exitCode(exit), nil
	default:
		return 0, fmt.Errorf("wait for the container's shim: %w", err)
	}
}

// exitCode is the code of a process's end as shells count it.
func exitCode(e *exec.ExitError) int {
	if s, ok := e.Sys().(interface {
		Signaled() bool
		Signal() unix.Signal
	}); ok && s.Signaled() {
		return 128 + int(s.Signal())
	}
	return e.ExitCode()
}
