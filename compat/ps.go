package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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
		Name: "ps", Usage: "ps displays the processes running inside a container", ArgsUsage: "<container-id> [ps options]",
		Description: `The table shows the processes of the guest, with the guest's process ids. Of the options of ps(1) -e, -A, -f,
-o FIELDS, --format FIELDS, ax, aux and o FIELDS are known; -ef is the default. JSON is for engines: the process ids that
init and the processes of exec have on the host.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "select one of: table or json"},
		},
		Action: func(c *cli.Context) error {
			if err := globals.MinMaxArgs(c, 1, -1); err != nil {
				return err
			}
			switch c.String("format") {
			case "json":
				pids, err := hostPids(g, c.Args().First())
				if err != nil {
					return err
				}
				return json.NewEncoder(c.App.Writer).Encode(pids)
			case "table":
				columns, err := parsePsArgs(c.Args().Tail())
				if err != nil {
					return err
				}
				list, err := processes(c.Context, g, c.Args().First())
				if err != nil {
					return err
				}
				return printProcesses(c.App.Writer, columns, list)
			default:
				return errors.New("invalid format option")
			}
		},
	}
}

// processes asks the guest for a container's processes.
func processes(ctx context.Context, g *globals.Globals, id string) (*agentproto.ListProcessesResponse, error) {
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
	return answer, nil
}

// printProcesses writes a table as ps(1) does.
func printProcesses(out io.Writer, columns []psColumn, list *agentproto.ListProcessesResponse) error {
	c := &psContext{
		now: time.UnixMilli(int64(list.GetNowUnixMs())), memory: list.GetMemoryTotalBytes(), names: map[string]string{},
	}
	rows := [][]string{{}}
	for _, column := range columns {
		rows[0] = append(rows[0], column.header)
	}
	for _, p := range list.GetProcesses() {
		var row []string
		for _, column := range columns {
			row = append(row, column.field.value(c, p))
		}
		rows = append(rows, row)
	}
	widths := make([]int, len(columns))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if columns[i].field.right {
				cell = padding + cell
			} else if i < len(row)-1 {
				cell += padding
			}
			if i > 0 {
				line.WriteByte(' ')
			}
			line.WriteString(cell)
		}
		if _, err := fmt.Fprintln(out, line.String()); err != nil {
			return err
		}
	}
	return nil
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
