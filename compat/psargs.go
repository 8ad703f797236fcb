package compat

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// psColumn is one column of a table of processes.
type psColumn struct {
	field  psField
	header string
}

// The tables that ps(1) has names for.
var psFormats = map[byte]string{
	'f': ":user pid ppid c stime tname time cmd",
	'u': "user pid %cpu %mem vsz rss tname stat bsdstart bsdtime command",
	'e': "pid tname time ucmd",
	'x': "pid tname stat bsdtime command",
}

// psOptions collects what ps's arguments ask for.
type psOptions struct {
	format  byte // key of psFormats; 0: not chosen
	columns []psColumn
}

// parsePsArgs turns arguments of ps(1) into the columns to print. All processes of the container are listed whatever
// the arguments select. None means -ef, as for runc.
func parsePsArgs(args []string) ([]psColumn, error) {
	var o psOptions
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case strings.HasPrefix(arg, "--"):
			args, err = o.long(arg, args)
		case strings.HasPrefix(arg, "-"):
			args, err = o.cluster(arg, arg[1:], "eA", "w", args)
		default:
			args, err = o.cluster(arg, arg, "axg", "w", args)
		}
		if err != nil {
			return nil, err
		}
	}
	return o.result()
}

// long reads an option with two dashes; rest is what follows it.
func (o *psOptions) long(arg string, rest []string) ([]string, error) {
	list, both := strings.CutPrefix(arg, "--format=")
	if !both {
		if arg != "--format" {
			return nil, unsupportedPs(arg)
		}
		if len(rest) == 0 {
			return nil, errors.New("error: format specification must follow --format")
		}
		list, rest = rest[0], rest[1:]
	}
	return rest, o.fields(list)
}

// cluster reads letters behind one dash, or behind none, which is BSD's style. Letters of all select processes, those of
// ignored mean nothing here.
func (o *psOptions) cluster(arg, letters, all, ignored string, rest []string) ([]string, error) {
	bsd := letters == arg
	for i := range len(letters) {
		letter := letters[i]
		switch {
		case letter == 'o':
			list := letters[i+1:]
			if list == "" {
				if len(rest) == 0 {
					return nil, errors.New("error: format specification must follow -o")
				}
				list, rest = rest[0], rest[1:]
			}
			return rest, o.fields(list)
		case bsd && letter == 'u', !bsd && letter == 'f':
			o.format = letter
		case strings.IndexByte(all, letter) >= 0:
			if o.format == 0 {
				o.format = map[bool]byte{true: 'x', false: 'e'}[bsd]
			}
		case strings.IndexByte(ignored, letter) >= 0:
		default:
			return nil, unsupportedPs(arg)
		}
	}
	return rest, nil
}

func unsupportedPs(arg string) error {
	return fmt.Errorf("ps option %q is not supported for the processes of a virtual machine: use -e, -f, -o FIELDS, or aux", arg)
}

// fields adds the columns of a list such as "pid,user=WHO,args": a header is everything up to the end of the argument.
func (o *psOptions) fields(list string) error {
	for list != "" {
		var name string
		end := strings.IndexAny(list, ", =")
		if end < 0 {
			end = len(list)
		}
		name = list[:end]
		field, ok := psFields[name]
		if !ok {
			return fmt.Errorf("error: unknown user-defined format specifier %q", name)
		}
		column := psColumn{field, field.header}
		if end < len(list) && list[end] == '=' {
			column.header, end = list[end+1:], len(list)
		}
		o.columns = append(o.columns, column)
		list = list[min(end+1, len(list)):]
	}
	return nil
}

// result checks that runc could have found the processes in the output.
func (o *psOptions) result() ([]psColumn, error) {
	switch {
	case len(o.columns) > 0 && (o.format == 'f' || o.format == 'u'):
		return nil, errors.New("error: conflicting format options")
	case len(o.columns) == 0:
		if o.format == 0 {
			o.format = 'e'
		}
		for name := range strings.FieldsSeq(psFormats[o.format]) {
			field := psFields[name]
			o.columns = append(o.columns, psColumn{field, field.header})
		}
	}
	if !slices.ContainsFunc(o.columns, func(c psColumn) bool { return slices.Contains(strings.Fields(c.header), "PID") }) {
		return nil, errors.New("couldn't find PID field in ps output")
	}
	return o.columns, nil
}
