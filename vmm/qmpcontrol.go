package vmm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Status returns QEMU's run state: "running", "paused", "prelaunch", "guest-panicked", ...
func (q *QMP) Status(ctx context.Context) (string, error) {
	value, err := q.run(ctx, newCommand("query-status", nil))
	if err != nil {
		return "", err
	}
	var status struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(value, &status); err != nil || status.Status == "" {
		return "", fmt.Errorf("QMP query-status: unexpected answer %.100q", value)
	}
	return status.Status, nil
}

// Powerdown presses the guest's power button.
func (q *QMP) Powerdown(ctx context.Context) error { return q.do(ctx, "system_powerdown", nil) }

// Stop halts the guest's processors, Cont lets them go on.
func (q *QMP) Stop(ctx context.Context) error { return q.do(ctx, "stop", nil) }

// Cont lets the guest's processors go on.
func (q *QMP) Cont(ctx context.Context) error { return q.do(ctx, "cont", nil) }

// Quit ends QEMU without asking the guest. QEMU may end before it answers, which is no error.
func (q *QMP) Quit(ctx context.Context) error {
	err := q.do(ctx, "quit", nil)
	if errors.Is(err, ErrQMPClosed) {
		return nil
	}
	return err
}
