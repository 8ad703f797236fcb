package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/monitor"
)

// PsCommand is "runvm ps".
func PsCommand(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name: "ps", Usage: "ps displays the processes running inside a container", ArgsUsage: "<container-id>",
		Description: `The table shows the processes of the guest, with the guest's process ids. JSON is for engines: the process ids that
init and the processes of exec have on the host.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "select one of: table or json"},
		},
		Action: func(c *cli.Context) error {
			if err := globals.MinMaxArgs(c, 1, -1); err != nil {
				return err
			}
			if c.NArg() > 1 {
				return fmt.Errorf("ps options (%s) are not supported yet: \"runvm exec %s ps ...\" runs the container's own ps",
					strings.Join(c.Args().Tail(), " "), c.Args().First())
			}
			switch c.String("format") {
			case "json":
				pids, err := hostPids(g, c.Args().First())
				if err != nil {
					return err
				}
				return json.NewEncoder(c.App.Writer).Encode(pids)
			case "table":
				list, err := processes(c.Context, g, c.Args().First())
				if err != nil {
					return err
				}
				return printProcesses(c.App.Writer, list, time.Now())
			default:
				return errors.New("invalid format option")
			}
		},
	}
}

// processes asks the guest for a container's processes.
func processes(ctx context.Context, g *globals.Globals, id string) ([]*agentproto.GuestProcess, error) {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	c, err := g.Load(id)
	if err != nil {
		return nil, err
	}
	if s := c.Status(); s == container.Stopped || s == container.Creating {
		return nil, container.ErrNotRunning
	}
	client, err := monitor.Agent(ctx, monitor.At(c.SandboxDir()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	answer, err := client.Agent().ListProcesses(ctx, &agentproto.ListProcessesRequest{ContainerId: c.ID})
	if err != nil {
		return nil, agentclient.FromStatus(err)
	}
	return answer.GetProcesses(), nil
}

// printProcesses writes a list as "ps -ef" does.
func printProcesses(out io.Writer, list []*agentproto.GuestProcess, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 1, 1, ' ', 0)
	fmt.Fprint(w, "UID\tPID\tPPID\tSTIME\tTTY\tTIME\tCMD\n")
	for _, p := range list {
		cpu := time.Duration(p.GetCpuTimeMs()) * time.Millisecond
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\n", strconv.FormatUint(uint64(p.GetUid()), 10), p.GetPid(), p.GetPpid(),
			startTime(time.UnixMilli(int64(p.GetStartTimeUnixMs())), now), printable(p.GetTty()), clock(cpu), printable(p.GetCommand()))
	}
	return w.Flush()
}

// startTime is a process's start as ps shows it: the time of today, otherwise the day.
func startTime(start, now time.Time) string {
	if now.Sub(start) < 24*time.Hour && start.Day() == now.Day() {
		return start.Format("15:04")
	}
	return start.Format("Jan02")
}

// clock writes a duration as hours, minutes and seconds.
func clock(d time.Duration) string {
	s := int64(d / time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// printable replaces what could steer the reader's terminal: the text is the guest's.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
