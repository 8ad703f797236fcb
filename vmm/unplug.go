package vmm

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrUnplugRefused is wrapped when the guest declines to let a device go.
var ErrUnplugRefused = errors.New("the guest refuses to release the device")

// ErrUnplugPending is returned when another call already removes the device.
var ErrUnplugPending = errors.New("the device is being removed already")

// AdoptNIC makes RemoveDevice take away what is behind a NIC that has been there since the start, as if AddNIC had plugged
// it.
func (q *QMP) AdoptNIC(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cleanup[id] = []command{newCommand("netdev_del", arguments{"id": id})}
}

// RemoveDevice takes a hot-plugged device away: it asks the guest, waits until the guest has let go, and removes what
// was behind the device. A call that ended with its context may be repeated.
func (q *QMP) RemoveDevice(ctx context.Context, id string) error {
	if err := q.removeDevice(ctx, id); err != nil {
		return fmt.Errorf("unplug device %s: %w", id, err)
	}
	return nil
}

func (q *QMP) removeDevice(ctx context.Context, id string) error {
	gone, err := q.watch(id)
	if err != nil {
		return err
	}
	defer q.unwatch(id)
	err = q.do(ctx, "device_del", arguments{"id": id})
	switch {
	case q.leftBehind(id, err):
		// An earlier call gave up waiting; the guest has let go since.
	case err != nil && !alreadyAsked(err):
		return err
	default:
		if err := q.await(ctx, gone); err != nil {
			return err
		}
	}
	q.mu.Lock()
	cleanup := q.cleanup[id]
	delete(q.cleanup, id)
	q.mu.Unlock()
	return q.runAll(ctx, cleanup)
}

// leftBehind says whether device_del found no device although its back end is still to be removed.
func (q *QMP) leftBehind(id string, err error) bool {
	var refusal *QMPError
	if !errors.As(err, &refusal) || refusal.Class != "DeviceNotFound" {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	_, known := q.cleanup[id]
	return known
}

// alreadyAsked recognizes what QEMU says of a device whose removal the guest has not answered yet. There is no class
// for it (qmp_device_del in QEMU's softmmu/qdev-monitor.c).
func alreadyAsked(err error) bool {
	var refusal *QMPError
	return errors.As(err, &refusal) && strings.Contains(refusal.Desc, "already in the process of unplug")
}

// watch registers for the end of the device.
func (q *QMP) watch(id string) (<-chan error, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, taken := q.removed[id]; taken {
		return nil, ErrUnplugPending
	}
	gone := make(chan error, 1)
	q.removed[id] = gone
	return gone, nil
}

func (q *QMP) unwatch(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.removed, id)
}

func (q *QMP) await(ctx context.Context, gone <-chan error) error {
	select {
	case err := <-gone:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the guest: %w", context.Cause(ctx))
	case <-q.done:
		return q.err
	}
}

// noteRemoval passes the end of a device, or the guest's refusal, to the call that waits for it.
func (q *QMP) noteRemoval(e Event) {
	var result error
	switch e.Event {
	case "DEVICE_DELETED":
	case "DEVICE_UNPLUG_GUEST_ERROR":
		result = ErrUnplugRefused
	default:
		return
	}
	id, _ := e.Data["device"].(string) // absent for a device without an id
	q.mu.Lock()
	defer q.mu.Unlock()
	if gone, waiting := q.removed[id]; waiting {
		select {
		case gone <- result:
		default: // it has been told once
		}
	}
}
