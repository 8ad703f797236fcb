package compat

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runvm/runvm/agentproto"
)

// someProcesses are two processes of a guest: the one fresh, the other of days ago.
func someProcesses(now time.Time) *agentproto.ListProcessesResponse {
	return &agentproto.ListProcessesResponse{
		NowUnixMs: uint64(now.UnixMilli()), MemoryTotalBytes: 400 << 20,
		Processes: []*agentproto.GuestProcess{
			{
				Pid: 7, Ppid: 1, Uid: 4_000_000_000, Gid: 4_000_000_001, CpuTimeMs: 1_800_000,
				StartTimeUnixMs: uint64(now.Add(-time.Hour).UnixMilli()), Tty: "?", Command: "sh -c \x1b[2J", Name: "sh",
				State: "S", Session: 7, Pgrp: 7, Priority: 20, Threads: 1, VirtualBytes: 4 << 20, ResidentBytes: 2 << 20,
			},
			{
				Pid: 80, Ppid: 7, CpuTimeMs: 90_061_000, StartTimeUnixMs: uint64(now.Add(-72 * time.Hour).UnixMilli()), Tty: "pts/0",
				Command: "sleep 1", Name: "sleep", State: "R", Session: 7, Pgrp: 80, Nice: 5, Priority: 25, Threads: 3, Foreground: true,
			},
		},
	}
}

func TestPs(t *testing.T) {
	now := time.Date(2026, 1, 2, 13, 0, 0, 0, time.Local)
	for args, want := range map[string]string{
		"": "UID        PID PPID  C STIME TTY         TIME CMD\n" +
			"4000000000   7    1 50 12:00 ?       00:30:00 sh -c ?[2J\n" +
			"root        80    7 34 Dec30 pts/0 1-01:01:01 sleep 1\n",
		"aux": "USER       PID %CPU %MEM  VSZ  RSS TTY   STAT START    TIME COMMAND\n" +
			"4000000000   7 50.0  0.5 4096 2048 ?     Ss   12:00   30:00 sh -c ?[2J\n" +
			"root        80 34.7  0.0    0    0 pts/0 RNl+ Dec30 1501:01 sleep 1\n",
		"-e":                          "PID TTY         TIME CMD\n  7 ?       00:30:00 sh\n 80 pts/0 1-01:01:01 sleep\n",
		"ax":                          "PID TTY   STAT    TIME COMMAND\n  7 ?     Ss     30:00 sh -c ?[2J\n 80 pts/0 RNl+ 1501:01 sleep 1\n",
		"-eo pid,etime,etimes -ocomm": "PID    ELAPSED ELAPSED COMMAND\n  7   01:00:00    3600 sh\n 80 3-00:00:00  259200 sleep\n",
		"o pid,uid,gid,egroup,user=WHO": "PID        UID        GID EGROUP     WHO\n  7 4000000000 4000000001 4000000001 4000000000\n" +
			" 80          0          0 root       root\n",
		"--format=pid,pgid,sid,s,nice,pri,nlwp,tty -w": "PID PGID SID S NI PRI NLWP TT\n  7    7   7 S  0  19    1 ?\n 80   80   7 R  5  14    3 pts/0\n",
	} {
		columns, err := parsePsArgs(strings.Fields(args))
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		var b bytes.Buffer
		if err := printProcesses(&b, columns, someProcesses(now)); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%q: %s", args, diff)
		}
	}
}

func TestPsRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"-L":           `ps option "-L" is not supported`,
		"-eL":          `ps option "-eL" is not supported`,
		"--forest":     `ps option "--forest" is not supported`,
		"-o nonsense":  `unknown user-defined format specifier "nonsense"`,
		"-o pid,":      "",
		"-o pid,,user": `unknown user-defined format specifier ""`,
		"-o user":      "couldn't find PID field in ps output",
		"-o":           "format specification must follow -o",
		"--format":     "format specification must follow --format",
		"-ef -o pid":   "conflicting format options",
		"-o pid=WHO":   "couldn't find PID field in ps output",
	} {
		_, err := parsePsArgs(strings.Fields(args))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func FuzzParsePsArgs(f *testing.F) {
	f.Add("-eo pid,comm=X")
	f.Add("aux")
	f.Fuzz(func(t *testing.T, line string) {
		columns, err := parsePsArgs(strings.Fields(line))
		if (err == nil) != (len(columns) > 0) {
			t.Errorf("%q: %d columns, %v", line, len(columns), err)
		}
	})
}
