package boot

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Transports of Config.
const (
	Serial = "serial"
	Vsock  = "vsock"
)

// Config is what the host tells the agent on the kernel's command line.
type Config struct {
	Transport string   // runvm.transport=: Serial or Vsock
	Port      uint32   // runvm.port=: the host's vsock port to report to; only for Vsock
	Modules   []string // runvm.modules=: groups of modules to load, comma-separated, in order
}

// ReadConfig reads the running kernel's command line. It needs /proc.
func ReadConfig() (Config, error) {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return Config{}, err
	}
	return ParseCmdline(string(b))
}

// ParseCmdline reads the agent's parameters from a kernel command line. The kernel's own are passed over; of a
// parameter that is repeated the last one counts, as it does for the kernel.
func ParseCmdline(line string) (Config, error) {
	var c Config
	for _, field := range strings.Fields(line) {
		name, value, _ := strings.Cut(field, "=")
		key, ours := strings.CutPrefix(name, "runvm.")
		if !ours {
			continue
		}
		switch key {
		case "transport":
			c.Transport = value
		case "port":
			port, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return Config{}, fmt.Errorf("kernel parameter runvm.port=%q: want a number", value)
			}
			c.Port = uint32(port)
		case "modules":
			c.Modules = strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
		default:
			return Config{}, fmt.Errorf("unknown kernel parameter %s: the guest image does not fit this runvm", name)
		}
	}
	return c, c.check()
}

func (c Config) check() error {
	switch {
	case c.Transport == Serial:
		return nil
	case c.Transport == Vsock && c.Port != 0:
		return nil
	case c.Transport == Vsock:
		return fmt.Errorf("kernel parameter runvm.transport=%s needs runvm.port=", Vsock)
	default:
		return fmt.Errorf("kernel parameter runvm.transport=%q: want %s or %s", c.Transport, Serial, Vsock)
	}
}
