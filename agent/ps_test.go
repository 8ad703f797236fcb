package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/runvm/runvm/agentproto"
)

const stat = "42 (a (b) c) S 7 42 42 34817 42 4194304 1 2 3 4 150 50 0 0 20 -5 3 0 1000 8192 2 3 4 5"

func TestParseStat(t *testing.T) {
	boot := time.UnixMilli(5000)
	got, err := parseStat(stat, boot)
	if err != nil {
		t.Fatal(err)
	}
	want := &agentproto.GuestProcess{
		Pid: 42, Ppid: 7, CpuTimeMs: 2000, StartTimeUnixMs: 15000, Tty: "pts/1", Command: "[a (b) c]",
		Name: "a (b) c", State: "S", Pgrp: 42, Session: 42, Priority: 20, Nice: -5, Threads: 3,
		VirtualBytes: 8192, ResidentBytes: 2 * uint64(os.Getpagesize()), Foreground: true,
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestReadProcess(t *testing.T) {
	boot, err := bootTime()
	if err != nil {
		t.Fatal(err)
	}
	got, err := readProcess("/proc/self", boot)
	if err != nil {
		t.Fatal(err)
	}
	if int(got.GetPid()) != os.Getpid() || int(got.GetUid()) != os.Geteuid() || !strings.Contains(got.GetCommand(), filepath.Base(os.Args[0])) {
		t.Errorf("got %v", got)
	}
	if age := time.Since(time.UnixMilli(int64(got.GetStartTimeUnixMs()))); age < -time.Second || age > time.Hour {
		t.Errorf("started %v ago", age)
	}
	if _, err := readProcess("/proc/"+strconv.Itoa(1<<30), boot); !os.IsNotExist(err) {
		t.Errorf("a missing process: %v", err)
	}
}

func TestMountable(t *testing.T) {
	got := mountable("nodev\tsysfs\n\text4\nnodev\tvirtiofs\n")
	if diff := cmp.Diff([]string{"virtiofs"}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add(stat)
	f.Add("1 () R")
	f.Add(")(")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseStat(text, time.Time{})
		if (p == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	})
}
