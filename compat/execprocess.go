package compat

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/container"
)

// execProcess is the process that exec's flags describe: that of --process, or the container's own with the flags'
// changes, as runc does it.
func execProcess(c *cli.Context, ct *container.Container) (*specs.Process, error) {
	if path := c.String("process"); path != "" {
		return bundle.LoadProcess(path)
	}
	b, err := bundle.Load(ct.Bundle)
	if err != nil {
		return nil, err
	}
	p := b.Spec.Process
	p.Args = c.Args().Tail()
	if len(p.Args) == 0 {
		return nil, errors.New("exec args cannot be empty")
	}
	p.Terminal = c.Bool("tty")
	if cwd := c.String("cwd"); cwd != "" {
		p.Cwd = cwd
	}
	p.Env = append(p.Env, c.StringSlice("env")...)
	if c.IsSet("no-new-privs") {
		p.NoNewPrivileges = c.Bool("no-new-privs")
	}
	addCapabilities(p, c.StringSlice("cap"))
	if err := setUser(&p.User, c.String("user")); err != nil {
		return nil, err
	}
	for _, gid := range c.Int64Slice("additional-gids") {
		if gid < 0 || gid > 1<<32-1 {
			return nil, fmt.Errorf("additional-gids must be from 0 to %d, got %d", uint32(1<<32-1), gid)
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(gid))
	}
	return p, bundle.ValidateProcess(p)
}

// addCapabilities adds to the sets that runc's --cap adds to: not to the inheritable one, and to the ambient one only if
// something can be inherited, since the kernel takes no other ambient capability.
func addCapabilities(p *specs.Process, names []string) {
	if len(names) == 0 {
		return
	}
	if p.Capabilities == nil {
		p.Capabilities = &specs.LinuxCapabilities{}
	}
	sets := []*[]string{&p.Capabilities.Bounding, &p.Capabilities.Effective, &p.Capabilities.Permitted}
	if p.Capabilities.Inheritable != nil {
		sets = append(sets, &p.Capabilities.Ambient)
	}
	for _, set := range sets {
		for _, name := range names {
			if !slices.Contains(*set, name) {
				*set = append(*set, name)
			}
		}
	}
}

// setUser parses <uid>[:<gid>].
func setUser(u *specs.User, s string) error {
	if s == "" {
		return nil
	}
	uidText, gidText, both := strings.Cut(s, ":")
	uid, err := strconv.ParseUint(uidText, 10, 32)
	if err != nil {
		return fmt.Errorf("bad uid: %w", err)
	}
	u.UID = uint32(uid)
	if !both {
		return nil
	}
	gid, err := strconv.ParseUint(gidText, 10, 32)
	if err != nil {
		return fmt.Errorf("bad gid: %w", err)
	}
	u.GID = uint32(gid)
	return nil
}

// subCgroup checks --cgroup as runc does. The guest has cgroup v2, where only a path without controllers counts.
func subCgroup(args []string) (string, error) {
	seen := map[string]bool{}
	path := ""
	for _, arg := range args {
		controllers, _, both := strings.Cut(arg, ":")
		if !both {
			if len(args) != 1 {
				return "", fmt.Errorf("invalid --cgroup argument: %s (missing <controller>: prefix)", arg)
			}
			path = arg
			continue
		}
		for c := range strings.SplitSeq(controllers, ",") {
			if c == "" {
				return "", fmt.Errorf("invalid --cgroup argument: %s (empty <controller> prefix)", arg)
			}
			if seen[c] {
				return "", fmt.Errorf("invalid --cgroup argument(s): controller %s specified multiple times", c)
			}
			seen[c] = true
		}
	}
	return path, nil
}
