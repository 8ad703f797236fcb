package compat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/state"
)

// ListCommand is "runvm list".
func ListCommand(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "lists containers started by runvm with the given root",
		Description: `Lists the containers of the root given with the global option "--root".`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "select one of: table or json"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "display only container IDs"},
		},
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 0); err != nil {
				return err
			}
			list, err := states(g)
			if err != nil {
				return err
			}
			return printList(c.App.Writer, list, c.String("format"), c.Bool("quiet"))
		},
	}
}

// states describes every container of the root. Those that are deleted meanwhile are left out.
func states(g *globals.Globals) ([]state.View, error) {
	containers, err := g.Store().List(func(id string, err error) { g.Logger.Warnf("load container %s: %v", id, err) })
	if err != nil {
		return nil, err
	}
	var list []state.View
	for _, c := range containers {
		v := state.Of(c)
		v.Owner, err = state.Owner(c)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func printList(out io.Writer, list []state.View, format string, quiet bool) error {
	if quiet {
		for _, v := range list {
			fmt.Fprintln(out, v.ID)
		}
		return nil
	}
	switch format {
	case "table":
		w := tabwriter.NewWriter(out, 12, 1, 3, ' ', 0)
		fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
		for _, v := range list {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n",
				v.ID, v.PID, v.Status, v.Bundle, v.Created.Format(time.RFC3339Nano), v.Owner)
		}
		return w.Flush()
	case "json":
		return json.NewEncoder(out).Encode(list)
	default:
		return errors.New("invalid format option")
	}
}
