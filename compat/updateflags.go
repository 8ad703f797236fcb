package compat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"

	"github.com/docker/go-units"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"
)

const resourcesUsage = `path to the file containing the resources to update or '-' to read from the standard input

The accepted format is as follow (unchanged values can be omitted):

{
  "memory": {
    "limit": 0,
    "reservation": 0,
    "swap": 0,
    "checkBeforeUpdate": true
  },
  "cpu": {
    "shares": 0,
    "quota": 0,
    "burst": 0,
    "period": 0,
    "realtimeRuntime": 0,
    "realtimePeriod": 0,
    "cpus": "",
    "mems": "",
    "idle": 0
  },
  "blockIO": {
    "weight": 0
  }
}

Note: if data is to be read from a file or the standard input, all
other options are ignored.
`

func updateFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "resources", Aliases: []string{"r"}, Usage: resourcesUsage},
		&cli.IntFlag{Name: "blkio-weight", Usage: "Specifies per cgroup weight, range is from 10 to 1000"},
		&cli.StringFlag{Name: "cpu-period", Usage: "CPU CFS period to be used for hardcapping (in usecs). 0 to use system default"},
		&cli.StringFlag{Name: "cpu-quota", Usage: "CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period"},
		&cli.StringFlag{Name: "cpu-burst", Usage: "CPU CFS hardcap burst limit (in usecs). Allowed accumulated cpu time additionally for burst a given period"},
		&cli.StringFlag{Name: "cpu-share", Usage: "CPU shares (relative weight vs. other containers)"},
		&cli.StringFlag{Name: "cpu-rt-period", Usage: "CPU realtime period to be used for hardcapping (in usecs). 0 to use system default"},
		&cli.StringFlag{Name: "cpu-rt-runtime", Usage: "CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period"},
		&cli.StringFlag{Name: "cpuset-cpus", Usage: "CPU(s) of the host to use"},
		&cli.StringFlag{Name: "cpuset-mems", Usage: "Memory node(s) of the host to use"},
		&cli.StringFlag{Name: "kernel-memory", Usage: "(obsoleted; do not use)", Hidden: true},
		&cli.StringFlag{Name: "kernel-memory-tcp", Usage: "(obsoleted; do not use)", Hidden: true},
		&cli.StringFlag{Name: "memory", Usage: "Memory limit (in bytes)"},
		&cli.StringFlag{Name: "cpu-idle", Usage: "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE"},
		&cli.StringFlag{Name: "memory-reservation", Usage: "Memory reservation or soft_limit (in bytes)"},
		&cli.StringFlag{Name: "memory-swap", Usage: "Total memory usage (memory + swap); set '-1' to enable unlimited swap"},
		&cli.IntFlag{Name: "pids-limit", Usage: "Maximum number of pids allowed in the container"},
		&cli.StringFlag{Name: "l3-cache-schema", Usage: "The string of Intel RDT/CAT L3 cache schema; refused"},
		&cli.StringFlag{Name: "mem-bw-schema", Usage: "The string of Intel RDT/MBA memory bandwidth schema; refused"},
	}
}

// updateResources are the limits that update's flags name, as runc reads them.
func updateResources(c *cli.Context, stdin io.Reader) (*specs.LinuxResources, error) {
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{CheckBeforeUpdate: new(false)}, CPU: &specs.LinuxCPU{},
		BlockIO: &specs.LinuxBlockIO{}, Pids: &specs.LinuxPids{},
	}
	err := error(nil)
	if path := c.String("resources"); path != "" {
		err = readResources(r, path, stdin)
	} else {
		err = flagResources(r, c)
	}
	if err != nil {
		return nil, err
	}
	// A host's RDT groups are not for the processes that carry a VM.
	if c.String("l3-cache-schema") != "" {
		return nil, errors.New("Intel RDT/CAT: l3 cache schema is not enabled")
	}
	if c.String("mem-bw-schema") != "" {
		return nil, errors.New("Intel RDT/MBA: memory bandwidth schema is not enabled")
	}
	if m := r.Memory; m != nil && m.Limit != nil && *m.Limit == -1 && m.Swap == nil {
		m.Swap = new(int64(0)) // a limit of swap alone is refused
	}
	if p := r.CPU; p != nil && p.Idle != nil && p.Shares == nil {
		p.Shares = new(uint64(0)) // the kernel refuses a weight for an idle group
	}
	return r, nil
}

func readResources(r *specs.LinuxResources, path string, stdin io.Reader) error {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		stdin = f
	}
	return json.NewDecoder(stdin).Decode(r)
}

func flagResources(r *specs.LinuxResources, c *cli.Context) error {
	if weight := c.Int("blkio-weight"); weight != 0 {
		r.BlockIO.Weight = new(uint16(weight))
	}
	r.CPU.Cpus, r.CPU.Mems = c.String("cpuset-cpus"), c.String("cpuset-mems")
	if c.IsSet("pids-limit") {
		r.Pids.Limit = new(int64(c.Int("pids-limit")))
	}
	var ignored *int64
	unsigned := func(text string) (uint64, error) { return strconv.ParseUint(text, 10, 64) }
	signed := func(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) }
	return errors.Join(
		setFlag(c, "cpu-idle", &r.CPU.Idle, signed),
		setFlag(c, "cpu-burst", &r.CPU.Burst, unsigned),
		setFlag(c, "cpu-period", &r.CPU.Period, unsigned),
		setFlag(c, "cpu-rt-period", &r.CPU.RealtimePeriod, unsigned),
		setFlag(c, "cpu-share", &r.CPU.Shares, unsigned),
		setFlag(c, "cpu-quota", &r.CPU.Quota, signed),
		setFlag(c, "cpu-rt-runtime", &r.CPU.RealtimeRuntime, signed),
		setFlag(c, "memory", &r.Memory.Limit, parseSize),
		setFlag(c, "memory-swap", &r.Memory.Swap, parseSize),
		setFlag(c, "memory-reservation", &r.Memory.Reservation, parseSize),
		setFlag(c, "kernel-memory", &ignored, parseSize),
		setFlag(c, "kernel-memory-tcp", &ignored, parseSize),
	)
}

// parseSize reads "-1" for no limit, or a number of bytes with or without a unit.
func parseSize(text string) (int64, error) {
	if text == "-1" {
		return -1, nil
	}
	size, err := units.RAMInBytes(text)
	if err == nil && size < 0 { // it does not check
		err = fmt.Errorf("invalid size: '%s': more than %d bytes", text, math.MaxInt64)
	}
	return size, err
}

// setFlag stores the value of a flag that is set.
func setFlag[T any](c *cli.Context, name string, to **T, parse func(string) (T, error)) error {
	text := c.String(name)
	if text == "" {
		return nil
	}
	value, err := parse(text)
	if err != nil {
		return fmt.Errorf("invalid value for %s: %w", name, err)
	}
	*to = &value
	return nil
}
