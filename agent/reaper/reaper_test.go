package reaper

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// orphan makes a process whose parent has ended, so that it is a child of this one, and returns its pid. The process
// ends by itself once its parent has: were it quicker, the shell would reap it.
func orphan(t *testing.T) int {
	t.Helper()
	wait, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer wait.Close()
	defer release.Close()
	cmd := exec.Command("/bin/sh", "-c", "cat <&3 >/dev/null 2>&1 & echo $!")
	cmd.ExtraFiles = []*os.File{wait}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// gone waits until a pid has been reaped.
func gone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for unix.Kill(pid, 0) == nil {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still there", pid)
		}
		time.Sleep(time.Millisecond)
	}
}

func subreaper(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatalf("subreaper: %v", err)
	}
}

func TestReapsOrphansOnly(t *testing.T) {
	subreaper(t)
	r := New()
	var cmd *exec.Cmd
	err := r.Start(func() (int, error) {
		cmd = exec.Command("/bin/sh", "-c", "exit 5")
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	zombified(t, cmd.Process.Pid)
	stop := make(chan struct{})
	defer close(stop)
	go r.Run(stop)
	// The known zombie comes first; the orphan behind it is found once that was waited for.
	var pid int
	if err := r.Start(func() (int, error) { pid = orphan(t); return 0, os.ErrInvalid }); err == nil {
		t.Fatal("the error of a start was lost")
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("the known child's status was taken: %v", err)
	}
	r.Done(cmd.Process.Pid)
	gone(t, pid)
}

func TestNothingIsReapedDuringStarts(t *testing.T) {
	subreaper(t)
	r := New()
	stop := make(chan struct{})
	defer close(stop)
	go r.Run(stop)
	var pid int
	_ = r.Start(func() (int, error) {
		pid = orphan(t)
		zombified(t, pid)
		r.reap()
		if unix.Kill(pid, 0) != nil {
			t.Error("a zombie was reaped while a process was being started")
		}
		return 0, os.ErrInvalid
	})
	gone(t, pid)
}

// zombified waits until a process has ended without having been waited for.
func zombified(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !isZombie(t, pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d does not end", pid)
		}
		time.Sleep(time.Millisecond)
	}
}

func isZombie(t *testing.T, pid int) bool {
	t.Helper()
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "State:") {
			return strings.Contains(s.Text(), "Z")
		}
	}
	return false
}
