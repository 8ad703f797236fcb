package compat

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/globals"
)

// errNoCheckpoint is what both commands come to. CRIU sees processes of the host only.
var errNoCheckpoint = errors.New("checkpoint and restore are not supported yet: the container's processes are in a virtual machine")

// CheckpointCommand is "runvm checkpoint". It takes runc's flags: engines probe for them.
func CheckpointCommand(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name: "checkpoint", Usage: "checkpoint a running container (not supported yet)", ArgsUsage: "<container-id>",
		Description: `The checkpoint command saves the state of the container instance. It is not supported yet.`,
		Flags: append(criuFlags(),
			&cli.StringFlag{Name: "parent-path", Usage: "path for previous criu image files in pre-dump"},
			&cli.BoolFlag{Name: "leave-running", Usage: "leave the process running after checkpointing"},
			&cli.BoolFlag{Name: "tcp-skip-in-flight", Usage: "skip in-flight tcp connections"},
			&cli.BoolFlag{Name: "link-remap", Usage: "allow one to link unlinked files back when possible"},
			&cli.IntFlag{Name: "status-fd", Value: -1, Usage: "criu writes \\0 to this FD once lazy-pages is ready"},
			&cli.StringFlag{Name: "page-server", Usage: "ADDRESS:PORT of the page server"},
			&cli.BoolFlag{Name: "pre-dump", Usage: "dump container's memory information only, leave the container running after this"},
		),
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 1); err != nil {
				return err
			}
			ct, err := g.Load(c.Args().First())
			if err != nil {
				return err
			}
			if s := ct.Status(); s == container.Created || s == container.Stopped {
				return fmt.Errorf("Container cannot be checkpointed in %s state", s) // runc's words
			}
			return errNoCheckpoint
		},
	}
}

// RestoreCommand is "runvm restore". It takes runc's flags: engines probe for them.
func RestoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "restore a container from a previous checkpoint (not supported yet)", ArgsUsage: "<container-id>",
		Description: `Restores the saved state of the container instance that was previously saved using the checkpoint command. It is not
supported yet.`,
		Flags: append(criuFlags(),
			&cli.StringFlag{Name: "console-socket", Usage: "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal"},
			&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Usage: "path to the root of the bundle directory"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "detach from the container's process"},
			&cli.StringFlag{Name: "pid-file", Usage: "specify the file to write the process id to"},
			&cli.BoolFlag{Name: "no-subreaper", Usage: "disable the use of the subreaper used to reap reparented processes"},
			&cli.BoolFlag{Name: "no-pivot", Usage: "do not use pivot root to jail process inside rootfs.  This should be used whenever the rootfs is on top of a ramdisk"},
			&cli.StringFlag{Name: "lsm-profile", Usage: "Specify an LSM profile to be used during restore in the form of TYPE:NAME."},
			&cli.StringFlag{Name: "lsm-mount-context", Usage: "Specify an LSM mount context to be used during restore."},
		),
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 1); err != nil {
				return err
			}
			return errNoCheckpoint
		},
	}
}

// criuFlags are the flags that both commands have.
func criuFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "image-path", Usage: "path of criu image files"},
		&cli.StringFlag{Name: "work-path", Usage: "path for saving work files and logs"},
		&cli.BoolFlag{Name: "tcp-established", Usage: "allow open tcp connections"},
		&cli.BoolFlag{Name: "ext-unix-sk", Usage: "allow external unix sockets"},
		&cli.BoolFlag{Name: "shell-job", Usage: "allow shell jobs"},
		&cli.BoolFlag{Name: "lazy-pages", Usage: "use userfaultfd to lazily restore memory pages"},
		&cli.BoolFlag{Name: "file-locks", Usage: "handle file locks, for safety"},
		&cli.StringFlag{Name: "manage-cgroups-mode", Usage: "cgroups mode: soft|full|strict|ignore (default: soft)"},
		&cli.StringSliceFlag{Name: "empty-ns", Usage: "create a namespace, but don't restore its properties"},
		&cli.BoolFlag{Name: "auto-dedup", Usage: "enable auto deduplication of memory images"},
	}
}
