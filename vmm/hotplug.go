package vmm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/digitalocean/go-qemu/qmp"

	"github.com/runvm/runvm/internal/undo"
)

// arguments of a QMP command.
type arguments = map[string]any

func newCommand(name string, args any) command {
	return command{Command: qmp.Command{Execute: name, Args: args}}
}

// deviceAdd makes device_add's arguments for a hot-plug port, see PortID. A port has one slot, yet QEMU 7.2 would
// take a second device if it were left to choose the address, and the guest would never see it.
func deviceAdd(driver, port string, properties []property) command {
	args := arguments{"driver": driver, "bus": port, "addr": "0"}
	for _, p := range properties {
		args[p.key] = p.value
	}
	return newCommand("device_add", args)
}

// later makes an undo step of commands. They run although the context of the failed call may have ended.
func (q *QMP) later(ctx context.Context, commands ...command) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return q.runAll(ctx, commands)
	}
}

// runAll runs every command, whatever the others return.
func (q *QMP) runAll(ctx context.Context, commands []command) error {
	var errs []error
	for _, c := range commands {
		_, err := q.run(ctx, c)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// plug adds the device, and remembers what its removal must be followed by.
func (q *QMP) plug(ctx context.Context, id string, device command, cleanup ...command) error {
	if _, err := q.run(ctx, device); err != nil {
		return err
	}
	q.mu.Lock()
	q.cleanup[id] = cleanup
	q.mu.Unlock()
	return nil
}

// AddNIC plugs a NIC into a free hot-plug port. What fails leaves nothing behind in QEMU. The files stay the caller's.
func (q *QMP) AddNIC(ctx context.Context, n NIC, port string) (err error) {
	if err := n.validate(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("hot-plug NIC %s: %w", n.ID, err)
		}
	}()
	var u undo.Stack
	defer u.Run(&err)
	taps, err := q.lend(ctx, &u, n.ID+"-tap", n.TapFDs)
	if err != nil {
		return err
	}
	vhosts, err := q.lend(ctx, &u, n.ID+"-vhost", n.VhostFDs)
	if err != nil {
		return err
	}
	netdev := arguments{"type": "tap", "id": n.ID, "vhost": len(vhosts) > 0}
	netdev[fdKey("fd", taps)] = strings.Join(taps, ":")
	if len(vhosts) > 0 {
		netdev[fdKey("vhostfd", vhosts)] = strings.Join(vhosts, ":")
	}
	if err := q.do(ctx, "netdev_add", netdev); err != nil {
		return err
	}
	u.Release() // the names are QEMU's own again: netdev_add has taken the files over
	remove := newCommand("netdev_del", arguments{"id": n.ID})
	u.Push(q.later(ctx, remove))
	device := deviceAdd("virtio-net-pci", port, append(n.device(), property{"romfile", ""}))
	if err := q.plug(ctx, n.ID, device, remove); err != nil {
		return err
	}
	u.Release()
	return nil
}

// fdKey names a netdev's descriptors as the command line does.
func fdKey(key string, names []string) string {
	if len(names) > 1 {
		return key + "s"
	}
	return key
}

// lend passes files to QEMU under names made from prefix.
func (q *QMP) lend(ctx context.Context, u *undo.Stack, prefix string, files []*os.File) ([]string, error) {
	var names []string
	for i, f := range files {
		name := prefix + strconv.Itoa(i)
		c := newCommand("getfd", arguments{"fdname": name})
		c.file = f
		if _, err := q.run(ctx, c); err != nil {
			return nil, err
		}
		u.Push(q.takeBack(ctx, name))
		names = append(names, name)
	}
	return names, nil
}

// takeBack closes a lent file. A netdev_add that failed may have used up some of them already.
func (q *QMP) takeBack(ctx context.Context, name string) func() error {
	closeFD := q.later(ctx, newCommand("closefd", arguments{"fdname": name}))
	return func() error {
		var refusal *QMPError
		if err := closeFD(); err != nil && !errors.As(err, &refusal) {
			return err
		}
		return nil
	}
}

// AddDisk plugs a disk into a free hot-plug port. What fails leaves nothing behind in QEMU. The file stays the
// caller's.
func (q *QMP) AddDisk(ctx context.Context, d Disk, port string) (err error) {
	if err := d.validate(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("hot-plug disk %s: %w", d.ID, err)
		}
	}()
	var u undo.Stack
	defer u.Run(&err)
	filename, cleanup := d.Path, []command{newCommand("blockdev-del", arguments{"node-name": d.ID})}
	if d.File != nil {
		set, err := q.addFD(ctx, d.File)
		if err != nil {
			return err
		}
		remove := newCommand("remove-fd", arguments{"fdset-id": set})
		u.Push(q.later(ctx, remove))
		cleanup = append(cleanup, remove)
		filename = fmt.Sprintf("/dev/fdset/%d", set)
	}
	node := arguments{
		"driver": "raw", "node-name": d.ID, "read-only": d.ReadOnly, "discard": "unmap",
		"file": arguments{"driver": d.fileDriver(), "filename": filename, "locking": "off", "discard": "unmap"},
	}
	if err := q.do(ctx, "blockdev-add", node); err != nil {
		return err
	}
	u.Push(q.later(ctx, cleanup[0]))
	if err := q.plug(ctx, d.ID, deviceAdd("virtio-blk-pci", port, d.device()), cleanup...); err != nil {
		return err
	}
	u.Release()
	return nil
}

// addFD puts a file into a set of its own and returns the set's number.
func (q *QMP) addFD(ctx context.Context, f *os.File) (int64, error) {
	c := newCommand("add-fd", nil)
	c.file = f
	value, err := q.run(ctx, c)
	if err != nil {
		return 0, err
	}
	var set struct {
		ID *int64 `json:"fdset-id"`
	}
	if err := json.Unmarshal(value, &set); err != nil || set.ID == nil {
		return 0, fmt.Errorf("QMP add-fd: unexpected answer %.100q", value)
	}
	return *set.ID, nil
}

// AddShare plugs a virtiofs share into a free hot-plug port. A 9p share can only be there from the start.
func (q *QMP) AddShare(ctx context.Context, id string, s Share, port string) (err error) {
	if err := errors.Join(checkID("share", id), s.validate()); err != nil {
		return err
	}
	if s.Type != ShareVirtiofs {
		return fmt.Errorf("hot-plug share %s: %w: QEMU cannot add a share of type %q to a running machine",
			id, ErrInvalidConfig, s.Type)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("hot-plug share %s: %w", id, err)
		}
	}()
	var u undo.Stack
	defer u.Run(&err)
	address := arguments{"type": "unix", "data": arguments{"path": s.Path}}
	backend := arguments{"type": "socket", "data": arguments{"addr": address, "server": false}}
	if err := q.do(ctx, "chardev-add", arguments{"id": id, "backend": backend}); err != nil {
		return err
	}
	remove := newCommand("chardev-remove", arguments{"id": id})
	u.Push(q.later(ctx, remove))
	device := deviceAdd("vhost-user-fs-pci", port, []property{
		{"id", id}, {"chardev", id}, {"tag", s.Tag}, {"queue-size", virtiofsQueueSize},
	})
	if err := q.plug(ctx, id, device, remove); err != nil {
		return err
	}
	u.Release()
	return nil
}
