package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/types"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/monitor"
)

// statsTimeout bounds what the guest may take to read a cgroup.
const statsTimeout = time.Minute

// EventsCommand is "runvm events".
func EventsCommand(g *globals.Globals) *cli.Command {
	return &cli.Command{
		Name: "events", Usage: "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
		ArgsUsage: "<container-id>",
		Description: `The events command displays information about the container, from the cgroup that it has in the guest. By default the
information is displayed once every 5 seconds.`,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "interval", Value: 5 * time.Second, Usage: "set the stats collection interval"},
			&cli.BoolFlag{Name: "stats", Usage: "display the container's stats then exit"},
		},
		Action: func(c *cli.Context) error {
			if err := globals.ExactArgs(c, 1); err != nil {
				return err
			}
			ct, err := g.Load(c.Args().First())
			if err != nil {
				return err
			}
			if c.Duration("interval") <= 0 {
				return errors.New("duration interval must be greater than 0")
			}
			if s := ct.Status(); s == container.Stopped || s == container.Creating {
				return fmt.Errorf("container with id %s is not running", ct.ID)
			}
			client, err := monitor.Agent(c.Context, monitor.At(ct.SandboxDir()))
			if err != nil {
				return err
			}
			defer client.Close()
			w := watcher{container: ct, client: client, out: json.NewEncoder(c.App.Writer), warn: g.Logger.Error}
			if c.Bool("stats") {
				return w.stats(c.Context)
			}
			return w.watch(c.Context, c.Duration("interval"))
		},
	}
}

// watcher prints a container's events.
type watcher struct {
	container *container.Container
	client    *agentclient.Client
	out       *json.Encoder
	warn      func(...any)
}

// stats prints the container's statistics once.
func (w *watcher) stats(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	answer, err := w.client.Agent().GetStats(ctx, &agentproto.GetStatsRequest{ContainerId: w.container.ID})
	if err != nil {
		return agentclient.FromStatus(err)
	}
	var s cgroups.Stats
	if err := json.Unmarshal(answer.GetJson(), &s); err != nil {
		return fmt.Errorf("statistics of the guest: %w", err)
	}
	return w.out.Encode(types.Event{Type: "stats", ID: w.container.ID, Data: convertStats(&s)})
}

// watch prints statistics at every interval, and OOM kills as they happen, until the container has ended or a signal
// ends ctx.
func (w *watcher) watch(ctx context.Context, interval time.Duration) error {
	ooms, err := w.watchOOM(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return globals.Exit(128 + int(unix.SIGINT))
		case err, ok := <-ooms:
			if !ok {
				return nil
			}
			if err != nil {
				return err
			}
			if err := w.out.Encode(types.Event{Type: "oom", ID: w.container.ID}); err != nil {
				return err
			}
		case <-tick.C:
			// It may just be ending: the other channel will tell.
			if err := w.stats(ctx); err != nil && ctx.Err() == nil && w.container.Shim.Alive() {
				w.warn(err)
			}
		}
	}
}

// watchOOM returns a channel on which nil says that the kernel has killed a process of the container for memory. It is
// closed when the container has ended.
func (w *watcher) watchOOM(ctx context.Context) (<-chan error, error) {
	stream, err := w.client.Agent().WatchEvents(ctx, &agentproto.WatchEventsRequest{ContainerId: w.container.ID})
	if err != nil {
		return nil, agentclient.FromStatus(err)
	}
	events := make(chan error)
	send := func(err error) {
		select {
		case events <- err:
		case <-ctx.Done():
		}
	}
	go func() {
		defer close(events)
		for {
			event, err := stream.Recv()
			if err != nil {
				if lost := w.explain(ctx, err); lost != nil {
					send(lost)
				}
				return
			}
			if event.GetKind() == agentproto.Event_OOM && !event.GetPast() {
				send(nil)
			}
		}
	}()
	return events, nil
}

// explain tells an end of the stream that the container's end has brought, nil, from one that has other reasons.
func (w *watcher) explain(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil
	}
	// The VM goes before the shim does.
	ctx, cancel := context.WithTimeout(ctx, monitor.StopTimeout)
	defer cancel()
	if w.container.Shim.Wait(ctx) == nil {
		return nil
	}
	return agentclient.FromStatus(err)
}
