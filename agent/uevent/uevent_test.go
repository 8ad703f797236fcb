package uevent

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const plugged = "add@/devices/system/cpu/cpu1\x00ACTION=add\x00DEVPATH=/devices/system/cpu/cpu1\x00SUBSYSTEM=cpu\x00SEQNUM=9\x00"

func TestParse(t *testing.T) {
	got, ok := Parse([]byte(plugged))
	if diff := cmp.Diff(Event{Action: "add", Path: "/devices/system/cpu/cpu1", Subsystem: "cpu"}, got); !ok || diff != "" {
		t.Error(ok, diff)
	}
	for _, bad := range []string{"", "\x00", "libudev\x00...", "add@relative\x00"} {
		if e, ok := Parse([]byte(bad)); ok {
			t.Errorf("%q became %+v", bad, e)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(plugged))
	f.Add([]byte("@/"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok := Parse(b); ok && !strings.HasPrefix(e.Path, "/") {
			t.Errorf("%q became %+v", b, e)
		}
	})
}
