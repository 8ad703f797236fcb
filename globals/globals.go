// Package globals holds runvm's global flags, which are runc's, and what follows from them: the store, the
// configuration, the log.
package globals

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/config"
	"github.com/runvm/runvm/container"
)

// Globals are the values of the global flags.
type Globals struct {
	Root          string
	RootSet       bool
	Log           string
	LogFormat     string
	Debug         bool
	SystemdCgroup bool
	ConfigPath    string

	// Inherited are the descriptors from 3 on that the caller has left open, in rising order.
	Inherited []int

	Logger  *logrus.Logger
	logFile *os.File
}

// Flags declares the flags.
func Flags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "debug", Usage: "enable debug logging"},
		&cli.StringFlag{Name: "log", Usage: "set the log file to write runvm logs to (default is '/dev/stderr')"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "set the log format ('text' (default), or 'json')"},
		&cli.StringFlag{
			Name: "root", Value: container.DefaultRoot,
			Usage: "root directory for storage of container state (this should be located in tmpfs)",
		},
		&cli.BoolFlag{
			Name:  "systemd-cgroup",
			Usage: "enable systemd cgroup support, expects cgroupsPath to be of form \"slice:prefix:name\" for e.g. \"system.slice:runvm:434234\"",
		},
		&cli.StringFlag{
			Name: "rootless", Value: "auto",
			Usage: "ignore cgroup permission errors ('true', 'false', or 'auto'); accepted, but runvm needs root",
		},
		&cli.StringFlag{
			Name:  "config",
			Usage: "configuration file (default: $" + config.PathVariable + ", then " + config.DefaultPath + ", which need not exist)",
		},
	}
}

// Read takes the flags' values and opens the log. Errors before it are logged to stderr.
func (g *Globals) Read(c *cli.Context) error {
	g.Root, g.RootSet = c.String("root"), c.IsSet("root")
	g.Log, g.LogFormat, g.Debug = c.String("log"), c.String("log-format"), c.Bool("debug")
	g.SystemdCgroup, g.ConfigPath = c.Bool("systemd-cgroup"), c.String("config")
	if err := g.openLog(); err != nil {
		return err
	}
	root, err := filepath.Abs(g.Root)
	if err != nil {
		return err
	}
	if root == "/" {
		return errors.New("Option --root argument should not be set to /") // runc's words
	}
	g.Root = root
	if r := c.String("rootless"); r != "auto" && r != "" && r != "true" && r != "false" {
		return fmt.Errorf("invalid --rootless value %q: must be true, false or auto", r)
	}
	return nil
}

func (g *Globals) openLog() error {
	switch g.LogFormat {
	case "", "text":
	case "json":
		g.Logger.SetFormatter(&logrus.JSONFormatter{})
	default:
		return errors.New("invalid log-format: " + g.LogFormat)
	}
	if g.Debug {
		g.Logger.SetLevel(logrus.DebugLevel)
	}
	if g.Log == "" {
		return nil
	}
	f, err := os.OpenFile(g.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_SYNC, 0o644)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	g.logFile = f
	g.Logger.SetOutput(f)
	return nil
}

// LogsToFile says that what is logged does not reach stderr.
func (g *Globals) LogsToFile() bool { return g.logFile != nil }

// ChildFlags are the flags that make another runvm process log as this one does. A child has no stderr of its own:
// without a log file it logs nowhere.
func (g *Globals) ChildFlags() []string {
	flags := []string{"--root", g.Root}
	if g.Log != "" {
		path, err := filepath.Abs(g.Log)
		if err != nil {
			path = g.Log
		}
		flags = append(flags, "--log", path)
	} else {
		flags = append(flags, "--log", os.DevNull)
	}
	if g.LogFormat != "" {
		flags = append(flags, "--log-format", g.LogFormat)
	}
	if g.Debug {
		flags = append(flags, "--debug")
	}
	return flags
}

// Store opens the store of containers.
func (g *Globals) Store() *container.Store { return container.Open(g.Root, g.RootSet) }

// Config reads the configuration.
func (g *Globals) Config() (config.Config, error) { return config.Load(g.ConfigPath) }

// Load finds the container that a command's first argument names.
func (g *Globals) Load(id string) (*container.Container, error) {
	if id == "" {
		return nil, errors.New("container id cannot be empty")
	}
	return g.Store().Load(id)
}

// ExactArgs refuses a call with another number of arguments, in runc's words, after showing the command's help.
func ExactArgs(c *cli.Context, n int) error {
	if c.NArg() == n {
		return nil
	}
	return badUsage(c, fmt.Sprintf("requires exactly %d argument(s)", n))
}

// MinMaxArgs is ExactArgs for a range; a max below zero is no limit.
func MinMaxArgs(c *cli.Context, low, high int) error {
	if c.NArg() < low {
		return badUsage(c, fmt.Sprintf("requires a minimum of %d argument(s)", low))
	}
	if high >= 0 && c.NArg() > high {
		return badUsage(c, fmt.Sprintf("requires a maximum of %d argument(s)", high))
	}
	return nil
}

func badUsage(c *cli.Context, what string) error {
	fmt.Fprint(c.App.Writer, "Incorrect Usage.\n\n")
	if err := cli.ShowSubcommandHelp(c); err != nil {
		return err
	}
	return fmt.Errorf("%s: %q %s", os.Args[0], c.Command.Name, what)
}
