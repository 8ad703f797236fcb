package compat

import (
	"fmt"
	"os/user"
	"strconv"
	"time"

	"github.com/runvm/runvm/agentproto"
)

// psField is what a column of ps(1) can show.
type psField struct {
	header string
	right  bool // aligned to the right
	value  func(*psContext, *agentproto.GuestProcess) string
}

// psContext is what the values need beside the process.
type psContext struct {
	now    time.Time // of the guest's clock
	memory uint64    // of the guest, in bytes
	names  map[string]string
}

// psFields are the fields that can be asked for by name, with the headers of procps.
var psFields = map[string]psField{
	"pid":  number("PID", func(p *agentproto.GuestProcess) uint64 { return uint64(p.GetPid()) }),
	"ppid": number("PPID", func(p *agentproto.GuestProcess) uint64 { return uint64(p.GetPpid()) }),
	"pgid": number("PGID", func(p *agentproto.GuestProcess) uint64 { return uint64(p.GetPgrp()) }),
	"pgrp": number("PGRP", func(p *agentproto.GuestProcess) uint64 { return uint64(p.GetPgrp()) }),
	"sid":  number("SID", func(p *agentproto.GuestProcess) uint64 { return uint64(p.GetSession()) }),
	"sess": number("SESS", func(p *agentproto.GuestProcess) uint64 { return uint64(p.GetSession()) }),
	"uid":  number("UID", func(p *agentproto.GuestProcess) uint64 { return uint64(p.GetUid()) }),
	"euid": number("EUID", func(p *agentproto.GuestProcess) uint64 { return uint64(p.GetUid()) }),
	"gid":  number("GID", func(p *agentproto.GuestProcess) uint64 { return uint64(p.GetGid()) }),
	"egid": number("EGID", func(p *agentproto.GuestProcess) uint64 { return uint64(p.GetGid()) }),
	"vsz":  number("VSZ", func(p *agentproto.GuestProcess) uint64 { return p.GetVirtualBytes() >> 10 }),
	"rss":  number("RSS", func(p *agentproto.GuestProcess) uint64 { return p.GetResidentBytes() >> 10 }),
	"nlwp": number("NLWP", func(p *agentproto.GuestProcess) uint64 { return uint64(p.GetThreads()) }),

	":user":   {"UID", false, userName}, // of -f
	"user":    {"USER", false, userName},
	"euser":   {"EUSER", false, userName},
	"group":   {"GROUP", false, groupName},
	"egroup":  {"EGROUP", false, groupName},
	"args":    text("COMMAND", (*agentproto.GuestProcess).GetCommand),
	"command": text("COMMAND", (*agentproto.GuestProcess).GetCommand),
	"cmd":     text("CMD", (*agentproto.GuestProcess).GetCommand),
	"comm":    text("COMMAND", (*agentproto.GuestProcess).GetName),
	"ucmd":    text("CMD", (*agentproto.GuestProcess).GetName),
	"state":   text("S", (*agentproto.GuestProcess).GetState),
	"s":       text("S", (*agentproto.GuestProcess).GetState),
	"stat":    {"STAT", false, longState},
	"tty":     text("TT", (*agentproto.GuestProcess).GetTty),
	"tt":      text("TT", (*agentproto.GuestProcess).GetTty),
	"tname":   text("TTY", (*agentproto.GuestProcess).GetTty),

	"ni":   {"NI", true, func(_ *psContext, p *agentproto.GuestProcess) string { return strconv.Itoa(int(p.GetNice())) }},
	"nice": {"NI", true, func(_ *psContext, p *agentproto.GuestProcess) string { return strconv.Itoa(int(p.GetNice())) }},
	"pri":  {"PRI", true, func(_ *psContext, p *agentproto.GuestProcess) string { return strconv.Itoa(39 - int(p.GetPriority())) }},

	"time":    {"TIME", true, func(_ *psContext, p *agentproto.GuestProcess) string { return clock(cpuTime(p)) }},
	"cputime": {"TIME", true, func(_ *psContext, p *agentproto.GuestProcess) string { return clock(cpuTime(p)) }},
	"bsdtime": {"TIME", true, func(_ *psContext, p *agentproto.GuestProcess) string { return minutes(cpuTime(p)) }},
	"etime":   {"ELAPSED", true, func(c *psContext, p *agentproto.GuestProcess) string { return elapsedClock(c.elapsed(p)) }},
	"etimes": {"ELAPSED", true, func(c *psContext, p *agentproto.GuestProcess) string {
		return strconv.Itoa(int(c.elapsed(p).Seconds()))
	}},
	"stime":    {"STIME", false, func(c *psContext, p *agentproto.GuestProcess) string { return startTime(started(p), c.now) }},
	"bsdstart": {"START", false, func(c *psContext, p *agentproto.GuestProcess) string { return startTime(started(p), c.now) }},
	"lstart":   {"STARTED", true, func(_ *psContext, p *agentproto.GuestProcess) string { return started(p).Format(time.ANSIC) }},
	"c":        {"C", true, func(c *psContext, p *agentproto.GuestProcess) string { return strconv.Itoa(int(c.cpu(p))) }},
	"pcpu":     {"%CPU", true, func(c *psContext, p *agentproto.GuestProcess) string { return fmt.Sprintf("%.1f", c.cpu(p)) }},
	"%cpu":     {"%CPU", true, func(c *psContext, p *agentproto.GuestProcess) string { return fmt.Sprintf("%.1f", c.cpu(p)) }},
	"pmem":     {"%MEM", true, memoryShare},
	"%mem":     {"%MEM", true, memoryShare},
}

func number(header string, get func(*agentproto.GuestProcess) uint64) psField {
	return psField{header, true, func(_ *psContext, p *agentproto.GuestProcess) string { return strconv.FormatUint(get(p), 10) }}
}

// text is a field that the guest's processes choose: nothing in it may steer the reader's terminal.
func text(header string, get func(*agentproto.GuestProcess) string) psField {
	return psField{header, false, func(_ *psContext, p *agentproto.GuestProcess) string { return printable(get(p)) }}
}

// userName names a user as the host's ps does for runc: by the host's table.
func userName(c *psContext, p *agentproto.GuestProcess) string {
	id := strconv.FormatUint(uint64(p.GetUid()), 10)
	return c.name("u"+id, id, func() (string, error) {
		u, err := user.LookupId(id)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

func groupName(c *psContext, p *agentproto.GuestProcess) string {
	id := strconv.FormatUint(uint64(p.GetGid()), 10)
	return c.name("g"+id, id, func() (string, error) {
		g, err := user.LookupGroupId(id)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

// name looks a name up once; without one the number stands.
func (c *psContext) name(key, number string, lookup func() (string, error)) string {
	name, known := c.names[key]
	if !known {
		var err error
		if name, err = lookup(); err != nil {
			name = number
		}
		c.names[key] = name
	}
	return name
}

// longState is the state with what ps(1) calls additional characters.
func longState(_ *psContext, p *agentproto.GuestProcess) string {
	s := printable(p.GetState())
	switch {
	case p.GetNice() < 0:
		s += "<"
	case p.GetNice() > 0:
		s += "N"
	}
	if uint32(p.GetSession()) == p.GetPid() {
		s += "s"
	}
	if p.GetThreads() > 1 {
		s += "l"
	}
	if p.GetForeground() {
		s += "+"
	}
	return s
}

func started(p *agentproto.GuestProcess) time.Time {
	return time.UnixMilli(int64(p.GetStartTimeUnixMs()))
}

func cpuTime(p *agentproto.GuestProcess) time.Duration {
	return time.Duration(p.GetCpuTimeMs()) * time.Millisecond
}

func (c *psContext) elapsed(p *agentproto.GuestProcess) time.Duration {
	return max(c.now.Sub(started(p)), 0)
}

// cpu is the share of a CPU that the process has used in its life, in percent.
func (c *psContext) cpu(p *agentproto.GuestProcess) float64 {
	elapsed := c.elapsed(p)
	if elapsed <= 0 {
		return 0
	}
	return 100 * cpuTime(p).Seconds() / elapsed.Seconds()
}

func memoryShare(c *psContext, p *agentproto.GuestProcess) string {
	if c.memory == 0 {
		return "0.0"
	}
	return fmt.Sprintf("%.1f", 100*float64(p.GetResidentBytes())/float64(c.memory))
}

// startTime is a process's start as ps shows it: the time of today, otherwise the day, or the year.
func startTime(start, now time.Time) string {
	switch {
	case now.Sub(start) < 24*time.Hour && start.Day() == now.Day():
		return start.Format("15:04")
	case now.Sub(start) < 365*24*time.Hour:
		return start.Format("Jan02")
	default:
		return start.Format("2006")
	}
}

// clock writes a duration as hours, minutes and seconds, with days where there are any.
func clock(d time.Duration) string {
	s := int64(d / time.Second)
	text := fmt.Sprintf("%02d:%02d:%02d", s/3600%24, s/60%60, s%60)
	if days := s / 86400; days > 0 {
		text = fmt.Sprintf("%d-%s", days, text)
	}
	return text
}

// elapsedClock is clock without hours where there are none.
func elapsedClock(d time.Duration) string {
	if d < time.Hour {
		return clock(d)[len("00:"):]
	}
	return clock(d)
}

// minutes writes a duration as minutes and seconds.
func minutes(d time.Duration) string {
	s := int64(d / time.Second)
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
