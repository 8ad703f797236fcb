package bundle

import (
	"maps"
	"os"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rlimits are the limits of getrlimit(2) in the specification's spelling.
var rlimits = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU,
	"RLIMIT_DATA": unix.RLIMIT_DATA, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE,
	"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
	"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
}

// guestMaxFiles is the guest kernel's bound of RLIMIT_NOFILE (fs.nr_open).
const guestMaxFiles = 1 << 20

// InheritRlimits returns a process with the limits of this one where it has none of its own, as a process inherits them
// from runc.
func InheritRlimits(p *specs.Process) *specs.Process { return inheritRlimits(p, ownRlimit) }

func inheritRlimits(p *specs.Process, own func(kind int) (unix.Rlimit, bool)) *specs.Process {
	heir := *p
	heir.Rlimits = slices.Clone(p.Rlimits)
	for _, name := range slices.Sorted(maps.Keys(rlimits)) {
		if slices.ContainsFunc(p.Rlimits, func(l specs.POSIXRlimit) bool { return l.Type == name }) {
			continue
		}
		limit, ok := own(rlimits[name])
		if !ok {
			continue
		}
		if name == "RLIMIT_NOFILE" {
			limit.Cur, limit.Max = min(limit.Cur, guestMaxFiles), min(limit.Max, guestMaxFiles)
		}
		heir.Rlimits = append(heir.Rlimits, specs.POSIXRlimit{Type: name, Soft: limit.Cur, Hard: limit.Max})
	}
	return &heir
}

// ownRlimit reads a limit that this process was started with, if that can be known. Go raises the soft limit of open
// files to one below the hard one at its start, without a trace (init of syscall/rlimit.go): then the parent, unless it
// is a Go program, too, still has what it passed on.
func ownRlimit(kind int) (unix.Rlimit, bool) {
	for _, pid := range []int{0, os.Getppid()} {
		var l unix.Rlimit
		if err := unix.Prlimit(pid, kind, nil, &l); err != nil {
			return l, false
		}
		if kind != unix.RLIMIT_NOFILE || l.Cur != l.Max-1 {
			return l, true
		}
	}
	return unix.Rlimit{}, false
}
