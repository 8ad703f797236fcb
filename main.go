// Command runvm is an OCI runtime, a drop-in for runc, that runs every container in a QEMU virtual machine of its own.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/admin"
	"github.com/runvm/runvm/compat"
	"github.com/runvm/runvm/create"
	deletecmd "github.com/runvm/runvm/delete"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/internal/fdset"
	"github.com/runvm/runvm/internal/hostoom"
	"github.com/runvm/runvm/kill"
	"github.com/runvm/runvm/monitor"
	"github.com/runvm/runvm/shim"
	"github.com/runvm/runvm/start"
	"github.com/runvm/runvm/state"
	"github.com/runvm/runvm/template"
	"github.com/runvm/runvm/vmm"
)

// version and commit are set by the linker.
var (
	version = "0.1.0-dev"
	commit  = "unknown"
)

// specVersion is the newest version of the runtime specification that is known here.
const specVersion = "1.3.0"

const description = `runvm is a drop-in for runc that runs every container in a QEMU virtual machine of its own.

To start a new instance of a container:

    # runvm run [ -b bundle ] <container-id>

where "<container-id>" is your name for the instance of the container. Exit codes are runc's: that of the container's
process from run and exec, 255 for an exec that could not be started, otherwise 1 for every error.`

func main() {
	g := &globals.Globals{Logger: logrus.New()}
	inherited, err := keepDescriptors(os.Args)
	if err != nil {
		os.Exit(report(g, err))
	}
	g.Inherited = inherited
	app := newApp(g)
	args := os.Args
	isShim := os.Getenv(shim.StageVariable) == shim.Stage
	if isShim {
		args = shimArgs()
	}
	ctx, stop := context.Background(), func() {}
	if !isShim {
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	}
	err = app.RunContext(ctx, flagsFirst(app, args))
	stop()
	os.Exit(report(g, err))
}

// keepDescriptors keeps what the caller had open from reaching the processes that runvm starts, and returns what that
// is. QEMU's jail and the victim of hostoom are the exceptions: what they inherit is meant for them.
func keepDescriptors(args []string) ([]int, error) {
	if len(args) > 1 && (args[1] == vmm.JailCommand || args[1] == hostoom.VictimCommand) {
		return nil, nil
	}
	inherited, err := fdset.Inherited(3)
	if err != nil {
		return nil, err
	}
	return inherited, fdset.CloseOnExecFrom(3)
}

// shimArgs are the arguments of a shim, which come by environment: its own are those of the container's process.
func shimArgs() []string {
	var flags []string
	if err := json.Unmarshal([]byte(os.Getenv(shim.FlagsVariable)), &flags); err != nil {
		flags = nil
	}
	return append(append([]string{"runvm"}, flags...), shim.Stage)
}

func newApp(g *globals.Globals) *cli.App {
	cli.VersionPrinter = printVersion
	app := &cli.App{
		Name: "runvm", Version: version, HelpName: "runvm",
		Usage:                  "Open Container Initiative runtime that runs containers in virtual machines",
		Description:            description,
		Flags:                  globals.Flags(),
		Before:                 g.Read,
		UseShortOptionHandling: true,
		EnableBashCompletion:   true,
		ExitErrHandler:         func(*cli.Context, error) {}, // main decides
		CommandNotFound: func(_ *cli.Context, name string) {
			os.Exit(report(g, &globals.ExitError{Code: 3, Err: fmt.Errorf("No help topic for '%s'", name)})) // as runc
		},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error { return err },
		Commands: []*cli.Command{
			compat.CheckpointCommand(g), create.Command(g), deletecmd.Command(g), compat.EventsCommand(g), compat.ExecCommand(g),
			compat.FeaturesCommand(), kill.Command(g), compat.ListCommand(g), compat.PauseCommand(g), compat.PsCommand(g),
			compat.RestoreCommand(), compat.ResumeCommand(g), compat.RunCommand(g), compat.SpecCommand(), start.Command(g),
			state.Command(g), compat.UpdateCommand(g),
			admin.TemplateCommand(g),
			stage(monitor.Stage, func(c *cli.Context) error { return monitor.Main(c.Context, g.Logger) }),
			stage(template.Stage, func(c *cli.Context) error { return template.Main(c.Context) }),
			stage(vmm.JailCommand, func(*cli.Context) error { return vmm.JailMain() }),
			stage(hostoom.VictimCommand, func(*cli.Context) error { return hostoom.VictimMain() }),
			stage(shim.Stage, func(*cli.Context) error {
				code, err := shim.Main(g.Logger)
				if err != nil {
					return &globals.ExitError{Code: max(code, 1), Err: err}
				}
				return globals.Exit(code)
			}),
		},
	}
	for _, c := range app.Commands {
		c.HideHelpCommand = true
		c.BashComplete = completion(g, c)
	}
	return app
}

// stage is a command that only runvm itself calls.
func stage(name string, action cli.ActionFunc) *cli.Command {
	return &cli.Command{Name: name, Hidden: true, HideHelp: true, Action: action}
}

func printVersion(c *cli.Context) {
	fmt.Fprintf(c.App.Writer, "runvm version %s\ncommit: %s\nspec: %s\ngo: %s\n", version, commit, specVersion, runtime.Version())
}

// report is the one place that turns an error into a log line, a line on stderr and an exit code.
func report(g *globals.Globals, err error) int {
	if err == nil {
		return 0
	}
	code := 1
	var exit *globals.ExitError
	if errors.As(err, &exit) {
		code = exit.Code
		if exit.Err == nil {
			return code
		}
	}
	g.Logger.Error(err)
	if g.LogsToFile() {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}
