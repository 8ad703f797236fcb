// Package hooks runs a container's hooks that belong on the host: prestart and createRuntime before the container is
// made, poststart after its program started, poststop after it was deleted (runtime-spec, "POSIX-platform Hooks").
package hooks

import (
	"fmt"
	"time"

	"github.com/opencontainers/runc/libcontainer/configs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runvm/runvm/container"
)

// Name is a kind of hook, spelled as in config.json.
type Name string

// The hooks that run on the host.
const (
	Prestart      Name = "prestart"
	CreateRuntime Name = "createRuntime"
	Poststart     Name = "poststart"
	Poststop      Name = "poststop"
)

// State is what a hook gets to read on its standard input.
type State struct {
	Version     string
	ID          string
	Status      container.Status
	PID         int
	Bundle      string
	Annotations map[string]string
}

// Run runs the hooks of one kind in order and stops at the first that fails.
func Run(h specs.Hooks, name Name, s State) error {
	state := &specs.State{
		Version: s.Version, ID: s.ID, Status: specs.ContainerState(s.Status), Pid: s.PID,
		Bundle: s.Bundle, Annotations: s.Annotations,
	}
	for i, hook := range ofKind(h, name) {
		command := &configs.Command{Path: hook.Path, Args: hook.Args, Env: hook.Env}
		if hook.Timeout != nil {
			timeout := time.Duration(*hook.Timeout) * time.Second
			command.Timeout = &timeout
		}
		if err := command.Run(state); err != nil {
			return fmt.Errorf("error running %s hook #%d: %w", name, i, err)
		}
	}
	return nil
}

func ofKind(h specs.Hooks, name Name) []specs.Hook {
	switch name {
	case Prestart:
		//lint:ignore SA1019 deprecated in the specification, still used by Docker
		return h.Prestart
	case CreateRuntime:
		return h.CreateRuntime
	case Poststart:
		return h.Poststart
	case Poststop:
		return h.Poststop
	default:
		return nil
	}
}
