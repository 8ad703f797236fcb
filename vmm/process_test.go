package vmm

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestProcessErr(t *testing.T) {
	p, err := startProcess("QEMU", exec.Command("/bin/sh", "-c", "echo bad option >&2; exit 3"), 0)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	var status *exec.ExitError
	if err := p.Err(); !errors.As(err, &status) || status.ExitCode() != 3 || !strings.Contains(err.Error(), "bad option") {
		t.Errorf("got error %v", err)
	}
	p.Kill() // of a process that is no more
}

func TestProcessKill(t *testing.T) {
	p, err := startProcess("QEMU", exec.Command("/bin/cat", "/dev/zero"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if p.Pid() <= 0 {
		t.Errorf("pid %d", p.Pid())
	}
	p.Kill()
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("got error %.100v", err)
	}
}

func TestProcessSuccess(t *testing.T) {
	p, err := startProcess("QEMU", exec.Command("/bin/true"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Err(); err != nil {
		t.Error(err)
	}
}

func TestProcessMissing(t *testing.T) {
	if _, err := startProcess("QEMU", exec.Command("/nonexistent/qemu"), 0); err == nil {
		t.Error("no error for a missing program")
	}
}

func TestTail(t *testing.T) {
	var kept tail
	for range 3 {
		if n, err := kept.Write([]byte(strings.Repeat("a", tailSize-1))); n != tailSize-1 || err != nil {
			t.Fatal(n, err)
		}
	}
	_, _ = kept.Write([]byte("end"))
	if got := kept.String(); len(got) != tailSize || !strings.HasSuffix(got, "aend") {
		t.Errorf("%d bytes kept, ending with %q", len(got), got[len(got)-8:])
	}
}
