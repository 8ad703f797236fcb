package pidfd

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// errStat says that /proc/PID/stat does not look as proc_pid_stat(5) describes it.
var errStat = errors.New("malformed process status")

// stat is the part of /proc/PID/stat that identifies a process and says whether it lives.
type stat struct {
	state     byte   // field 3
	parent    int    // field 4
	startTime uint64 // field 22, clock ticks after boot
}

// dead says that the process has ended, be it reaped or not.
func (s stat) dead() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(data))
}

// parseStat reads a line as in proc_pid_stat(5). Field 2, the command in parentheses, may itself hold blanks,
// parentheses and newlines, so the fields are counted from the last parenthesis.
func parseStat(line string) (stat, error) {
	end := strings.LastIndexByte(line, ')')
	if end < 0 {
		return stat{}, errStat
	}
	const state, parent, startTime = 0, 1, 19 // indices of fields 3, 4 and 22 among those that follow the command
	fields := strings.Fields(line[end+1:])
	if len(fields) <= startTime || len(fields[state]) != 1 {
		return stat{}, errStat
	}
	ticks, err := strconv.ParseUint(fields[startTime], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("%w: start time: %w", errStat, err)
	}
	ppid, err := strconv.Atoi(fields[parent])
	if err != nil {
		return stat{}, fmt.Errorf("%w: parent: %w", errStat, err)
	}
	return stat{state: fields[state][0], parent: ppid, startTime: ticks}, nil
}
