package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/globals"
)

// completionFlag is what the completion script of dist/ adds to the words typed so far; nothing may stand behind it.
const completionFlag = "--generate-bash-completion"

// completion offers a command's flags or, for one that works on a container that exists, the containers' ids.
func completion(g *globals.Globals, command *cli.Command) cli.BashCompleteFunc {
	flags := cli.DefaultCompleteWithFlags(command)
	newID := slices.Contains([]string{"create", "run", "restore"}, command.Name)
	return func(c *cli.Context) {
		flags(c)
		if newID || !strings.HasPrefix(command.ArgsUsage, "<container-id>") || c.NArg() > 0 {
			return
		}
		g.Root, g.RootSet = c.String("root"), c.IsSet("root") // cli does not run Before
		containers, err := g.Store().List(func(string, error) {})
		if err != nil {
			return // there is nobody to tell
		}
		for _, ct := range containers {
			fmt.Fprintln(c.App.Writer, ct.ID)
		}
	}
}
