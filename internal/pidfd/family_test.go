package pidfd

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestDescendants(t *testing.T) {
	child := exec.Command("sh", "-c", "sleep 1000 & echo $!; read x; kill $!")
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		_ = child.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	grandchild, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	pids, err := Descendants(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{child.Process.Pid, grandchild} {
		if !slices.Contains(pids, pid) || !Exists(pid) {
			t.Errorf("%d is missing in %v", pid, pids)
		}
	}
	if slices.Contains(pids, os.Getpid()) {
		t.Error("a process descends from itself")
	}
	if Exists(1 << 30) {
		t.Error("a pid beyond all exists")
	}
}
