package kill

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]unix.Signal{
		"0": 0, "9": unix.SIGKILL, "15": unix.SIGTERM, "64": 64, "34": 34,
		"TERM": unix.SIGTERM, "SIGTERM": unix.SIGTERM, "sigterm": unix.SIGTERM, "hup": unix.SIGHUP,
		"WINCH": unix.SIGWINCH, "RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX": 64, "sigrtmax-2": 62,
	} {
		got, err := ParseSignal(in)
		if err != nil || got != want {
			t.Errorf("ParseSignal(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-1", "65", "999999999999", "SIG", "FOO", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMIN+", "9 ", "SIGSIGTERM"} {
		if got, err := ParseSignal(in); err == nil {
			t.Errorf("ParseSignal(%q) = %d, want an error", in, got)
		}
	}
}

func FuzzParseSignal(f *testing.F) {
	for _, s := range []string{"9", "TERM", "SIGRTMIN+4", "RTMAX-1", "-3", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if sig, err := ParseSignal(s); err == nil && (sig < 0 || sig > 64) {
			t.Errorf("ParseSignal(%q) = %d", s, sig)
		}
	})
}
