package create

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/globals"
)

// Flags are the flags that create and run share.
func Flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "bundle", Aliases: []string{"b"},
			Usage: "path to the root of the bundle directory, defaults to the current directory",
		},
		&cli.StringFlag{
			Name:  "console-socket",
			Usage: "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal",
		},
		&cli.StringFlag{
			Name:  "pidfd-socket",
			Usage: "path to an AF_UNIX socket which will receive a file descriptor referencing the init process",
		},
		&cli.StringFlag{Name: "pid-file", Usage: "specify the file to write the process id to"},
		&cli.BoolFlag{
			Name:  "no-pivot",
			Usage: "do not use pivot root to jail process inside rootfs.  This should be used whenever the rootfs is on top of a ramdisk",
		},
		&cli.BoolFlag{
			Name:  "no-new-keyring",
			Usage: "do not create a new session keyring for the container.  This will cause the container to inherit the calling processes session key",
		},
		&cli.IntFlag{
			Name:  "preserve-fds",
			Usage: "Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)",
		},
	}
}

// FromFlags reads the flags that create and run share.
func FromFlags(c *cli.Context) Options {
	return Options{
		ID: c.Args().First(), Bundle: c.String("bundle"), PidFile: c.String("pid-file"),
		ConsoleSocket: c.String("console-socket"), PidfdSocket: c.String("pidfd-socket"), NoPivot: c.Bool("no-pivot"),
		NoNewKeyring: c.Bool("no-new-keyring"), PreserveFDs: c.Int("preserve-fds"),
	}
}

// Command is "runvm create".
func Command(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "create a container",
		ArgsUsage: "<container-id>",
		Description: `The create command creates an instance of a container for a bundle, in a virtual machine of its own or
of its pod. The bundle is a directory with a specification file named "config.json" and a root filesystem.

Where "<container-id>" is your name for the instance of the container that you are starting. The name you provide for
the container instance must be unique on your host.`,
		Flags: Flags(),
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 1); err != nil {
				return err
			}
			if _, err := Run(c.Context, g, FromFlags(c)); err != nil {
				return fmt.Errorf("runvm create failed: %w", err)
			}
			return nil
		},
	}
}
