package compat

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/cgroup"
	"github.com/runvm/runvm/console"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/create"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/internal/namespace"
	"github.com/runvm/runvm/internal/pidfd"
	"github.com/runvm/runvm/internal/undo"
	"github.com/runvm/runvm/monitor"
	"github.com/runvm/runvm/passfd"
	"github.com/runvm/runvm/shim"
)

// execFailed is the exit code of an exec that did not come about, as runc's.
const execFailed = 255

// execTimeout bounds what the guest may take to start a process.
const execTimeout = 2 * time.Minute

// ExecCommand is "runvm exec".
func ExecCommand(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "execute new process inside the container",
		ArgsUsage: "<container-id> <command> [command options]  || -p process.json <container-id>",
		Description: `Where "<container-id>" is the name for the instance of the container and "<command>" is the command to be executed in
the container. "<command>" can't be empty unless a "-p" flag provided. The process runs in the container's virtual
machine. Exit code: that of the process; 255 when it could not be started.`,
		Flags: execFlags(),
		Action: func(c *cli.Context) error {
			if err := globals.MinMaxArgs(c, 1, -1); err != nil {
				return err
			}
			code, err := runExec(c, g)
			if err != nil {
				return &globals.ExitError{Code: execFailed, Err: fmt.Errorf("exec failed: %w", err)}
			}
			return globals.Exit(code)
		},
	}
}

func execFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name:  "console-socket",
			Usage: "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal",
		},
		&cli.StringFlag{
			Name:  "pidfd-socket",
			Usage: "path to an AF_UNIX socket which will receive a file descriptor referencing the exec process",
		},
		&cli.StringFlag{Name: "cwd", Usage: "current working directory in the container"},
		&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set environment variables"},
		&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "allocate a pseudo-TTY"},
		&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "UID (format: <uid>[:<gid>])"},
		&cli.Int64SliceFlag{Name: "additional-gids", Aliases: []string{"g"}, Usage: "additional gids"},
		&cli.StringFlag{Name: "process", Aliases: []string{"p"}, Usage: "path to the process.json"},
		&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "detach from the container's process"},
		&cli.StringFlag{Name: "pid-file", Usage: "specify the file to write the process id to"},
		&cli.StringFlag{Name: "process-label", Usage: "set the asm process label for the process commonly used with selinux"},
		&cli.StringFlag{Name: "apparmor", Usage: "set the apparmor profile for the process"},
		&cli.BoolFlag{Name: "no-new-privs", Usage: "set the no new privileges value for the process"},
		&cli.StringSliceFlag{Name: "cap", Aliases: []string{"c"}, Usage: "add a capability to the bounding set for the process"},
		&cli.IntFlag{
			Name:  "preserve-fds",
			Usage: "Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)",
		},
		&cli.StringSliceFlag{
			Name:  "cgroup",
			Usage: "run the process in an (existing) sub-cgroup(s), in the guest. Format is [<controller>:]<cgroup>.",
		},
		&cli.BoolFlag{Name: "ignore-paused", Usage: "allow exec in a paused container"},
	}
}

// execution is one exec under way.
type execution struct {
	globals   *globals.Globals
	container *container.Container
	process   *specs.Process
	id        string
	pidFile   string
	socket    string
	detach    bool
	paused    bool
	cgroup    string

	files   passfd.Files
	console *console.Pair
	pidfd   *pidfd.Socket // who wants a pidfd of the shim
	shim    *shim.Process
}

func runExec(c *cli.Context, g *globals.Globals) (int, error) {
	e := &execution{
		globals: g, id: rand.Text(), pidFile: c.String("pid-file"), socket: c.String("console-socket"),
		detach: c.Bool("detach"), paused: c.Bool("ignore-paused"),
	}
	var err error
	if e.container, err = g.Load(c.Args().First()); err != nil {
		return 0, err
	}
	if err := e.checkStatus(); err != nil {
		return 0, err
	}
	if e.process, err = execProcess(c, e.container); err != nil {
		return 0, err
	}
	if e.cgroup, err = subCgroup(c.StringSlice("cgroup")); err != nil {
		return 0, err
	}
	if err := e.checkFlags(c); err != nil {
		return 0, err
	}
	if e.pidfd, err = pidfd.DialSocket(c.String("pidfd-socket")); err != nil {
		return 0, err
	}
	defer e.pidfd.Close()
	if err := e.start(c.Context); err != nil {
		if !e.container.Shim.Alive() {
			return 0, errors.New("cannot exec in a stopped container")
		}
		return 0, err
	}
	if e.detach {
		return 0, nil
	}
	a, err := attach(c.Context, e.shim, e.console)
	if err != nil {
		return 0, errors.Join(err, e.shim.Kill())
	}
	return a.wait()
}

func (e *execution) checkStatus() error {
	switch e.container.Status() {
	case container.Stopped, container.Creating:
		return errors.New("cannot exec in a stopped container")
	case container.Paused:
		if !e.paused {
			return errors.New("cannot exec in a paused container (use --ignore-paused to override)")
		}
	}
	return nil
}

func (e *execution) checkFlags(c *cli.Context) error {
	switch {
	case e.detach && e.process.Terminal && e.socket == "":
		return errors.New("cannot allocate tty if runvm will detach without setting console socket")
	case (!e.detach || !e.process.Terminal) && e.socket != "":
		return errors.New("cannot use console socket if runvm will not detach or allocate tty")
	}
	var err error
	e.files, err = passfd.Preserved(c.Int("preserve-fds"), e.globals.Inherited)
	return err
}

// start starts the process in the guest and the shim that stands for it on the host.
func (e *execution) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	var u undo.Stack
	defer u.Run(&err)
	u.Push(e.kill)
	if err = e.startShim(); err != nil {
		return err
	}
	if err = e.startInGuest(ctx); err != nil {
		return err
	}
	// From here on the process ends when the lifeline closes, whatever happens to this process or the shim.
	lifeline, err := monitor.AttachExec(ctx, monitor.At(e.container.SandboxDir()), e.container.ID, e.id)
	if err != nil {
		return err
	}
	defer lifeline.Close()
	agent, err := monitor.DialAgent(ctx, monitor.At(e.container.SandboxDir()))
	if err != nil {
		return err
	}
	defer agent.Close()
	if err = e.shim.Attach(ctx, agent, lifeline); err != nil {
		return err
	}
	if e.console != nil && e.detach {
		if err = e.console.Send(e.socket); err != nil {
			return err
		}
		if err = e.console.Close(); err != nil {
			return err
		}
	}
	if err = e.pidfd.Send(e.shim.Process, "setns"); err != nil {
		return err
	}
	if err = create.WritePidFile(e.pidFile, e.shim.PID); err != nil {
		return err
	}
	u.Release()
	return nil
}

func (e *execution) kill() error {
	var errs []error
	if e.shim != nil {
		errs = append(errs, e.shim.Kill())
	}
	if e.console != nil {
		errs = append(errs, e.console.Close())
	}
	return errors.Join(errs...)
}

// startShim starts the shim in the container's network namespace and host cgroup.
func (e *execution) startShim() error {
	o := shim.Options{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Args: e.process.Args, LogFlags: e.globals.ChildFlags(),
		Files: e.files.OSFiles(),
	}
	if e.process.Terminal {
		pair, err := console.New(e.process.ConsoleSize)
		if err != nil {
			return err
		}
		e.console = pair
		o.Stdin, o.Stdout, o.Stderr, o.Terminal = pair.Slave, pair.Slave, pair.Slave, true
	}
	o.Join = map[namespace.Kind]string{namespace.Net: namespace.PathOf(e.container.Shim.PID, namespace.Net)}
	var err error
	if e.shim, err = shim.Start(o); err != nil {
		return err
	}
	e.files.Close()
	ref := e.container.Cgroup
	group, err := cgroup.Open(e.container.ID, ref.Path, ref.Systemd, ref.Paths)
	if err != nil {
		return err
	}
	if err := group.Add(e.shim.PID); err != nil {
		return err
	}
	return e.shim.Prepare(shim.Config{
		ContainerID: e.container.ID, ExecID: e.id, Terminal: e.process.Terminal, Files: e.files.Kinds(),
	})
}

func (e *execution) startInGuest(ctx context.Context) error {
	client, err := monitor.Agent(ctx, monitor.At(e.container.SandboxDir()))
	if err != nil {
		return err
	}
	defer client.Close()
	process, err := json.Marshal(bundle.InheritRlimits(bundle.GuestProcess(e.process)))
	if err != nil {
		return err
	}
	request := &agentproto.ExecProcessRequest{
		ContainerId: e.container.ID, ExecId: e.id, Process: process, IgnorePaused: e.paused, Cgroup: e.cgroup,
		Files: e.files.Descriptions(),
	}
	if size := e.process.ConsoleSize; size != nil {
		request.TtySizeSet = true
		request.ConsoleHeight, request.ConsoleWidth = uint32(size.Height), uint32(size.Width)
	}
	if _, err := client.Agent().ExecProcess(ctx, request); err != nil {
		return agentclient.FromStatus(err)
	}
	return nil
}
