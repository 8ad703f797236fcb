package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

const (
	maxProcesses = 4096    // in one answer
	maxCommand   = 4 << 10 // bytes of one command
	userHz       = 100     // ticks per second in /proc (proc(5), "clock ticks")
)

// ListProcesses implements the call.
func (s *Server) ListProcesses(
	_ context.Context, r *agentproto.ListProcessesRequest,
) (*agentproto.ListProcessesResponse, error) {
	c, err := s.containers.get(r.GetContainerId())
	if err != nil {
		return nil, err
	}
	pids, err := c.Pids()
	if err != nil {
		return nil, toStatus(err)
	}
	boot, err := bootTime()
	if err != nil {
		return nil, toStatus(err)
	}
	answer := &agentproto.ListProcessesResponse{NowUnixMs: uint64(max(time.Now().UnixMilli(), 0)), MemoryTotalBytes: memoryTotal()}
	size := 0
	for _, pid := range pids {
		p, err := readProcess(filepath.Join("/proc", strconv.Itoa(pid)), boot)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return nil, toStatus(err)
		}
		size += len(p.GetCommand())
		if len(answer.GetProcesses()) == maxProcesses || size > maxMessage/2 {
			break
		}
		answer.Processes = append(answer.Processes, p)
	}
	return answer, nil
}

func bootTime() (time.Time, error) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(-time.Duration(up.Nano())), nil
}

// memoryTotal is the guest's memory in bytes, as MemTotal of proc_meminfo(5).
func memoryTotal() uint64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return info.Totalram * uint64(info.Unit)
}

// readProcess reads one process's folder in /proc.
func readProcess(dir string, boot time.Time) (*agentproto.GuestProcess, error) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return nil, err
	}
	p, err := parseStat(string(b), boot)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t // the folder belongs to the process's effective user (proc(5))
	if err := unix.Stat(dir, &st); err != nil {
		return nil, err
	}
	p.Uid, p.Gid = st.Uid, st.Gid
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return nil, err
	}
	if len(cmdline) > 0 {
		p.Command = strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " ")
	}
	p.Command = strings.ToValidUTF8(p.GetCommand()[:min(len(p.GetCommand()), maxCommand)], "?")
	return p, nil
}

// Fields of /proc/pid/stat behind the name, counted from the state (proc(5)).
const (
	statState    = 0
	statPpid     = 1
	statPgrp     = 2
	statSession  = 3
	statTTY      = 4
	statTpgid    = 5
	statUtime    = 11
	statStime    = 12
	statPriority = 15
	statNice     = 16
	statThreads  = 17
	statStart    = 19
	statVsize    = 20
	statRss      = 21 // pages
	statFields   = 22
)

// maxName bounds a process's name: 15 bytes, except for workers of the kernel.
const maxName = 64

// parseStat reads the text of /proc/pid/stat. The name may hold blanks and parentheses.
func parseStat(text string, boot time.Time) (*agentproto.GuestProcess, error) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return nil, fmt.Errorf("process status %q has no name", text)
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < statFields {
		return nil, fmt.Errorf("process status %q has %d fields behind the name, want %d", text, len(fields), statFields)
	}
	number := func(field string) uint64 {
		n, _ := strconv.ParseUint(field, 10, 64)
		return n
	}
	signed := func(field string) int32 {
		n, _ := strconv.ParseInt(field, 10, 32)
		return int32(n)
	}
	name := text[open+1 : end]
	started := boot.Add(time.Duration(number(fields[statStart])) * time.Second / userHz)
	return &agentproto.GuestProcess{
		Pid:             uint32(number(strings.TrimSpace(text[:open]))),
		Ppid:            uint32(number(fields[statPpid])),
		CpuTimeMs:       (number(fields[statUtime]) + number(fields[statStime])) * 1000 / userHz,
		StartTimeUnixMs: uint64(max(started.UnixMilli(), 0)),
		Tty:             ttyName(number(fields[statTTY])),
		Command:         "[" + name + "]", // as ps(1) shows a process without arguments
		Name:            strings.ToValidUTF8(name[:min(len(name), maxName)], "?"),
		State:           strings.ToValidUTF8(fields[statState][:1], "?"),
		Pgrp:            signed(fields[statPgrp]),
		Session:         signed(fields[statSession]),
		Priority:        signed(fields[statPriority]),
		Nice:            signed(fields[statNice]),
		Threads:         uint32(number(fields[statThreads])),
		VirtualBytes:    number(fields[statVsize]),
		ResidentBytes:   number(fields[statRss]) * uint64(os.Getpagesize()),
		Foreground:      signed(fields[statTpgid]) == signed(fields[statPgrp]),
	}, nil
}

// ttyName names a pseudoterminal by its device number. Major 136 to 143 are the ptys (admin-guide/devices.txt).
func ttyName(device uint64) string {
	major, minor := unix.Major(device), unix.Minor(device)
	if major < 136 || major > 143 {
		return "?"
	}
	return fmt.Sprintf("pts/%d", (major-136)<<8|minor)
}
