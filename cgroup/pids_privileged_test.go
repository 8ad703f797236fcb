//go:build privileged

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPids: a cgroup that has no part in the hierarchy of devices lists its members all the same.
func TestPids(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	defer end()
	path := fmt.Sprintf("/runvm-test-%d", os.Getpid())
	made, err := New("test", path, false, nil, Overhead{}, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		end()
		if err := made.Destroy(); err != nil {
			t.Error(err)
		}
		if got, err := made.Pids(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without the cgroup: %v, %v", got, err)
		}
	}()
	found, err := Open("test", path, false, made.Paths())
	if err != nil {
		t.Fatal(err)
	}
	got, err := found.Pids()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{cmd.Process.Pid}, got); diff != "" {
		t.Error(diff)
	}
}
