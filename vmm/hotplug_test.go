package vmm

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// plugHandler answers like QEMU, but refuses the command named refused.
func plugHandler(refused string) func(request) []string {
	return func(r request) []string {
		switch {
		case r.Execute == refused:
			return refuse("GenericError", "refused for the test")
		case r.Execute == "add-fd":
			return []string{`{"return": {"fdset-id": 3, "fd": 42}, "id": $ID}`}
		case r.Execute == "device_del":
			return append(ok(), `{"event": "DEVICE_DELETED", "data": {"path": "/machine/peripheral/x/virtio-backend"}}`,
				`{"event": "DEVICE_DELETED", "data": {"device": "`+r.Arguments["id"].(string)+`", "path": "/x"}}`)
		}
		return ok()
	}
}

func hotNIC(t *testing.T) NIC {
	f := devNull(t)
	return NIC{
		ID: "hotnic0", MAC: "02:00:00:00:00:09", MTU: 1400,
		TapFDs: []*os.File{f, f}, VhostFDs: []*os.File{f, f},
	}
}

// TestPlug checks the commands of each kind of device: added and removed, and refused at each step.
func TestPlug(t *testing.T) {
	nic := func(ctx context.Context, q *QMP) error { return q.AddNIC(ctx, hotNIC(t), "rp0") }
	adopted := func(_ context.Context, q *QMP) error {
		q.AdoptNIC("nic0")
		return nil
	}
	disk := func(ctx context.Context, q *QMP) error {
		return q.AddDisk(ctx, Disk{ID: "hotdisk0", File: devNull(t)}, "rp1")
	}
	share := func(ctx context.Context, q *QMP) error {
		return q.AddShare(ctx, "hotshare0", Share{Type: ShareVirtiofs, Tag: "t", Path: "/vm/s"}, "rp2")
	}
	lent := "getfd+1 getfd+1 getfd+1 getfd+1 "
	for _, tc := range []struct {
		name, id, refused, want string
		add                     func(context.Context, *QMP) error
	}{
		{"nic", "hotnic0", "", lent + "netdev_add device_add device_del netdev_del", nic},
		{"nic no getfd", "hotnic0", "getfd", "getfd+1", nic},
		{"nic no netdev", "hotnic0", "netdev_add", lent + "netdev_add closefd closefd closefd closefd", nic},
		{"nic no device", "hotnic0", "device_add", lent + "netdev_add device_add netdev_del", nic},
		{"nic of the start", "nic0", "", "device_del netdev_del", adopted},
		{"disk", "hotdisk0", "", "add-fd+1 blockdev-add device_add device_del blockdev-del remove-fd", disk},
		{"disk no blockdev", "hotdisk0", "blockdev-add", "add-fd+1 blockdev-add remove-fd", disk},
		{"disk no device", "hotdisk0", "device_add", "add-fd+1 blockdev-add device_add blockdev-del remove-fd", disk},
		{"share", "hotshare0", "", "chardev-add device_add device_del chardev-remove", share},
		{"share no chardev", "hotshare0", "chardev-add", "chardev-add", share},
		{"share no device", "hotshare0", "device_add", "chardev-add device_add chardev-remove", share},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q, m := dial(t, plugHandler(tc.refused))
			err := tc.add(short(t), q)
			if (err != nil) != (tc.refused != "") {
				t.Errorf("got error %v", err)
			}
			if err != nil && (!strings.Contains(err.Error(), "refused for the test") || !strings.Contains(err.Error(), tc.id)) {
				t.Errorf("the error %q does not carry QEMU's text and the device", err)
			}
			if err == nil {
				if err := q.RemoveDevice(short(t), tc.id); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(tc.want, strings.Join(m.commands(), " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAddNICArguments(t *testing.T) {
	q, m := dial(t, plugHandler(""))
	if err := q.AddNIC(short(t), hotNIC(t), "rp0"); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	want := []map[string]any{
		{
			"type": "tap", "id": "hotnic0", "vhost": true,
			"fds": "hotnic0-tap0:hotnic0-tap1", "vhostfds": "hotnic0-vhost0:hotnic0-vhost1",
		},
		{
			"driver": "virtio-net-pci", "bus": "rp0", "addr": "0", "id": "hotnic0", "netdev": "hotnic0",
			"mac": "02:00:00:00:00:09", "host_mtu": 1400.0, "mq": true, "vectors": 6.0, "romfile": "", "disable-legacy": "on",
		},
	}
	n := len(m.seen)
	if diff := cmp.Diff(want, []map[string]any{m.seen[n-2].Arguments, m.seen[n-1].Arguments}); diff != "" {
		t.Error(diff)
	}
}

func TestAddRefuses(t *testing.T) {
	q, m := dial(t, plugHandler(""))
	ctx := short(t)
	for name, err := range map[string]error{
		"NIC":      q.AddNIC(ctx, NIC{ID: "x"}, "rp0"),
		"disk":     q.AddDisk(ctx, Disk{ID: "x"}, "rp0"),
		"share id": q.AddShare(ctx, "a b", Share{Type: ShareVirtiofs, Tag: "t", Path: "/s"}, "rp0"),
		"9p":       q.AddShare(ctx, "x", Share{Type: Share9P, Tag: "t", Path: "/s"}, "rp0"),
	} {
		if !errors.Is(err, ErrInvalidConfig) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	if got := m.commands(); len(got) != 0 {
		t.Errorf("QEMU was asked: %v", got)
	}
}

func TestRemoveRefusedByGuest(t *testing.T) {
	q, m := dial(t, func(r request) []string {
		if r.Execute == "device_del" {
			return append(ok(), `{"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": {"device": "hotnic0", "path": "/x"}}`)
		}
		return ok()
	})
	if err := q.RemoveDevice(short(t), "hotnic0"); !errors.Is(err, ErrUnplugRefused) {
		t.Errorf("got error %v", err)
	}
	if got := strings.Join(m.commands(), " "); got != "device_del" {
		t.Errorf("commands %q", got)
	}
}

func TestRemoveUnknown(t *testing.T) {
	q, _ := dial(t, func(request) []string { return refuse("DeviceNotFound", "Device 'x' not found") })
	if err := q.RemoveDevice(short(t), "x"); err == nil || !strings.Contains(err.Error(), "Device 'x' not found") {
		t.Errorf("got error %v", err)
	}
}

// TestRemoveRepeated gives up on a guest that does not answer, and asks again before and after it has let go.
func TestRemoveRepeated(t *testing.T) {
	asked := make(chan struct{}, 3)
	answers := [][]string{
		ok(), // and then nothing from the guest
		append(refuse("GenericError", "Device hotshare0 is already in the process of unplug"),
			`{"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": {"device": "hotshare0"}}`),
		refuse("DeviceNotFound", "Device 'hotshare0' not found"),
	}
	next := 0
	q, m := dial(t, func(r request) []string {
		if r.Execute != "device_del" {
			return ok()
		}
		next++
		asked <- struct{}{}
		return answers[next-1]
	})
	share := Share{Type: ShareVirtiofs, Tag: "t", Path: "/s"}
	if err := q.AddShare(short(t), "hotshare0", share, "rp0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-asked
		cancel()
	}()
	if err := q.RemoveDevice(ctx, "hotshare0"); !errors.Is(err, context.Canceled) {
		t.Errorf("first: %v", err)
	}
	if err := q.RemoveDevice(short(t), "hotshare0"); !errors.Is(err, ErrUnplugRefused) {
		t.Errorf("second: %v", err)
	}
	if err := q.RemoveDevice(short(t), "hotshare0"); err != nil {
		t.Errorf("third: %v", err)
	}
	want := "chardev-add device_add device_del device_del device_del chardev-remove"
	if got := strings.Join(m.commands(), " "); got != want {
		t.Errorf("commands %q, want %q", got, want)
	}
}

func TestRemoveTwiceAtOnce(t *testing.T) {
	q, _ := dial(t, plugHandler(""))
	if _, err := q.watch("hotnic0"); err != nil {
		t.Fatal(err)
	}
	if err := q.RemoveDevice(short(t), "hotnic0"); !errors.Is(err, ErrUnplugPending) {
		t.Errorf("got error %v", err)
	}
}
