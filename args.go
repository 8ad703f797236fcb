package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves a command's flags before its arguments ("runvm delete ID --force"), as runc's command line allows.
// Commands whose arguments are another program's command line (exec, ps), or a command of their own, stay as they are.
func flagsFirst(app *cli.App, args []string) []string {
	at := commandIndex(app, args)
	if at < 0 || args[len(args)-1] == completionFlag {
		return args
	}
	command := app.Command(args[at])
	if command == nil || command.Name == "exec" || command.Name == "ps" || len(command.Subcommands) > 0 {
		return args
	}
	var flags, rest []string
	for i := at + 1; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			rest = append(rest, args[i:]...)
			break
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			rest = append(rest, a)
			continue
		}
		flags = append(flags, a)
		if takesValue(command.Flags, a) && i+1 < len(args) {
			i++
			flags = append(flags, args[i])
		}
	}
	return slices.Concat(args[:at+1], flags, rest)
}

// commandIndex finds the command's name behind the global flags; -1: there is none.
func commandIndex(app *cli.App, args []string) int {
	for i := 1; i < len(args); i++ {
		a := args[i]
		if !strings.HasPrefix(a, "-") {
			return i
		}
		if takesValue(app.Flags, a) {
			i++
		}
	}
	return -1
}

// takesValue says whether the next argument belongs to flag arg.
func takesValue(flags []cli.Flag, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		if !slices.Contains(f.Names(), name) {
			continue
		}
		d, ok := f.(cli.DocGenerationFlag)
		return ok && d.TakesValue()
	}
	return false
}
