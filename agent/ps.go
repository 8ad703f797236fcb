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
	answer := &agentproto.ListProcessesResponse{}
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
	p.Uid = st.Uid
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
	statPpid   = 1
	statTTY    = 4
	statUtime  = 11
	statStime  = 12
	statStart  = 19
	statFields = 20
)

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
	started := boot.Add(time.Duration(number(fields[statStart])) * time.Second / userHz)
	return &agentproto.GuestProcess{
		Pid:             uint32(number(strings.TrimSpace(text[:open]))),
		Ppid:            uint32(number(fields[statPpid])),
		CpuTimeMs:       (number(fields[statUtime]) + number(fields[statStime])) * 1000 / userHz,
		StartTimeUnixMs: uint64(max(started.UnixMilli(), 0)),
		Tty:             ttyName(number(fields[statTTY])),
		Command:         "[" + text[open+1:end] + "]", // as ps(1) shows a process without arguments
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
