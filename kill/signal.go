package kill

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Linux numbers real-time signals from 34 in user space (the C library keeps 32 and 33) up to 64.
const (
	signalRTMin = 34
	signalRTMax = 64
)

// ParseSignal reads a signal as kill(1) and runc do: a number, 0 to ask whether there is a process, or a name with or without SIG in any case; also
// RTMIN, RTMIN+n, RTMAX, RTMAX-n.
func ParseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > signalRTMax {
			return 0, fmt.Errorf("unknown signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	name = strings.TrimPrefix(name, "SIG")
	if sig := unix.SignalNum("SIG" + name); sig != 0 {
		return sig, nil
	}
	if sig, ok := realTime(name); ok {
		return sig, nil
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

func realTime(name string) (unix.Signal, bool) {
	for _, base := range []struct {
		name, sign string
		from       int
	}{{"RTMIN", "+", signalRTMin}, {"RTMAX", "-", signalRTMax}} {
		offset, ok := strings.CutPrefix(name, base.name)
		if !ok {
			continue
		}
		if offset == "" {
			return unix.Signal(base.from), true
		}
		digits, ok := strings.CutPrefix(offset, base.sign)
		n, err := strconv.ParseUint(digits, 10, 8)
		if !ok || err != nil || n > signalRTMax-signalRTMin {
			return 0, false
		}
		if base.sign == "-" {
			return unix.Signal(base.from - int(n)), true
		}
		return unix.Signal(base.from + int(n)), true
	}
	return 0, false
}
