package vmm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Names of events and of a migration's file in QEMU.
const (
	eventMigration = "MIGRATION"
	eventPort      = "VSERPORT_CHANGE"
	stateFD        = "state"
)

// ErrMigration is wrapped by the error of a state that could not be saved or loaded.
var ErrMigration = errors.New("migration failed")

// WaitForPort returns when the guest has opened the agent's port. QEMU must have been started with this connection's
// events unread: what was delivered before counts. It takes other events away.
func (q *QMP) WaitForPort(ctx context.Context) error {
	for {
		e, err := q.nextEvent(ctx)
		if err != nil {
			return fmt.Errorf("wait for the agent to open its port: %w", err)
		}
		var data struct {
			ID   string `json:"id"`
			Open bool   `json:"open"`
		}
		if e.Event == eventPort && decodeData(e, &data) == nil && data.ID == agentPort && data.Open {
			return nil
		}
	}
}

// Save writes the state of the stopped machine's devices to a file; its memory is in Config.MemoryFile. Precondition:
// nothing else reads Events.
func (q *QMP) Save(ctx context.Context, state *os.File) error {
	return q.migrate(ctx, "migrate", state)
}

// Load makes a QEMU that was started with Config.Incoming take over a state that Save wrote. Its memory must be a copy
// of that of the saved machine, and its configuration the same. The machine is stopped then: Cont lets it go on.
// Precondition: nothing else reads Events.
func (q *QMP) Load(ctx context.Context, state *os.File) error {
	return q.migrate(ctx, "migrate-incoming", state)
}

func (q *QMP) migrate(ctx context.Context, verb string, state *os.File) error {
	capabilities := []arguments{
		{"capability": "x-ignore-shared", "state": true}, // the memory file has it already
		{"capability": "events", "state": true},
	}
	if err := q.do(ctx, "migrate-set-capabilities", arguments{"capabilities": capabilities}); err != nil {
		return err
	}
	getfd := newCommand("getfd", arguments{"fdname": stateFD})
	getfd.file = state
	if _, err := q.run(ctx, getfd); err != nil {
		return err
	}
	if err := q.do(ctx, verb, arguments{"uri": "fd:" + stateFD}); err != nil {
		return err
	}
	for {
		e, err := q.nextEvent(ctx)
		if err != nil {
			return fmt.Errorf("QMP %s: %w", verb, err)
		}
		var data struct {
			Status string `json:"status"`
		}
		if e.Event != eventMigration || decodeData(e, &data) != nil {
			continue
		}
		switch data.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("QMP %s: %w: status %s", verb, ErrMigration, data.Status)
		}
	}
}

// nextEvent waits for an event.
func (q *QMP) nextEvent(ctx context.Context) (Event, error) {
	select {
	case e, ok := <-q.events:
		if !ok {
			<-q.done
			return Event{}, q.err
		}
		return e, nil
	case <-ctx.Done():
		return Event{}, context.Cause(ctx)
	}
}

func decodeData(e Event, to any) error {
	text, err := json.Marshal(e.Data)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}
