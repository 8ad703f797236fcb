// Command runvm-agent is PID 1 of a runvm guest. It also is what the kernel calls to load a module, and what
// libcontainer starts inside of containers: package executor/reexec takes that over before main.
package main

import (
	"fmt"
	"net"
	"os"

	"github.com/runvm/runvm/agent"
	"github.com/runvm/runvm/agent/boot"
	"github.com/runvm/runvm/agent/executor"
	"github.com/runvm/runvm/agent/hotplug"
	"github.com/runvm/runvm/agent/network"
	"github.com/runvm/runvm/agent/reaper"
	"github.com/runvm/runvm/agent/seal"
	"github.com/runvm/runvm/agent/transport"
	"github.com/runvm/runvm/agent/uevent"
)

// version is set by the linker.
var version = "unknown"

const stateDir = "/run/runvm/containers"

func main() {
	switch {
	case boot.IsModprobe(os.Args):
		if boot.Modprobe(os.Args) != nil {
			os.Exit(1)
		}
	case os.Getpid() != 1:
		fmt.Fprintln(os.Stderr, "runvm-agent: this is the init process of a runvm guest and runs as PID 1 only")
		os.Exit(2)
	case !seal.Done(os.Args):
		boot.Fail(seal.ErrFailed)
	default:
		boot.Fail(run())
	}
}

// run prepares the guest and serves. It returns only when that has become impossible.
func run() error {
	config, err := boot.Prepare()
	if err != nil {
		return err
	}
	if err := network.LoopbackUp(); err != nil {
		return err
	}
	events, err := uevent.Listen()
	if err != nil {
		return err
	}
	go func() { boot.Fail(hotplug.Run(events)) }()
	children := reaper.New()
	go children.Run(nil)
	server := agent.New(agent.Options{
		Executor: executor.New(stateDir, children), Version: version, PowerOff: boot.PowerOff,
	})
	return transport.Serve(config, func(l net.Listener) error { return server.Serve(l) })
}
