// Package admin holds runvm's own commands, those that runc does not have.
package admin

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/create"
	"github.com/runvm/runvm/globals"
)

// TemplateCommand is "runvm template".
func TemplateCommand(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name: "template", Usage: "make, list and remove saved virtual machines that new ones are cloned from",
		Description: `A template is a virtual machine that was saved when it had booted. Containers that need no other machine
than the configured one are started from a clone of it. It is made in the background when a container is created and there is none, unless
template = "off" is configured, or by "runvm template create".`,
		HideHelpCommand: true,
		Subcommands: []*cli.Command{
			{Name: "create", Usage: "make the template of the configured machine, unless it is there", Action: func(c *cli.Context) error {
				return createTemplate(c, g)
			}},
			{Name: "list", Usage: "list the templates of this host", Action: listTemplates},
			{Name: "rm", Usage: "remove templates; what was cloned from them lives on", ArgsUsage: "<key>...", Action: removeTemplates,
				Flags: []cli.Flag{&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "all of them"}}},
		},
	}
}

func createTemplate(c *cli.Context, g *globals.Globals) error {
	if err := globals.ExactArgs(c, 0); err != nil {
		return err
	}
	config, err := g.Config()
	if err != nil {
		return err
	}
	key, machine, ok, err := create.Template(config)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("this configuration allows no template: it needs virtiofsd, and vm.transport must not be \"vsock\"")
	}
	if err := create.Templates().RunMaker(c.Context, key, machine, g.ChildFlags()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.App.Writer, key)
	return err
}

func listTemplates(c *cli.Context) error {
	if err := globals.ExactArgs(c, 0); err != nil {
		return err
	}
	list, err := create.Templates().List()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.App.Writer, 12, 1, 3, ' ', 0)
	fmt.Fprintln(w, "KEY\tSIZE\tCREATED\tSTATUS")
	for _, t := range list {
		status := "ready"
		if t.Failed != "" {
			status = "failed: " + oneLine(t.Failed)
		}
		fmt.Fprintf(w, "%s\t%d MiB\t%s\t%s\n", t.Key, t.Bytes>>20, t.Created.UTC().Format(time.RFC3339), status)
	}
	return w.Flush()
}

// oneLine keeps a reason in its row of the table: it has lines, which QEMU wrote.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ReplaceAll(text, "\n", "; "))
}

func removeTemplates(c *cli.Context) error {
	keys := c.Args().Slice()
	if c.Bool("all") == (len(keys) > 0) {
		return errors.New("name the templates to remove, or give --all")
	}
	if c.Bool("all") {
		return create.Templates().RemoveAll()
	}
	var errs []error
	for _, key := range keys {
		errs = append(errs, create.Templates().Remove(key))
	}
	return errors.Join(errs...)
}
