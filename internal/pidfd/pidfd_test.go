package pidfd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// start runs a process that ends when it is killed, at the latest with the test.
func start(t *testing.T) (*exec.Cmd, Process) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p, err := Find(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, p
}

func TestZombieIsDead(t *testing.T) {
	_, p := start(t)
	if !p.Alive() {
		t.Fatal("a running process is not alive")
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Nobody has reaped it yet.
	if p.Alive() {
		t.Error("a zombie is alive")
	}
	if err := p.Signal(0); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal = %v, want os.ErrProcessDone", err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Errorf("Wait = %v", err)
	}
}

func TestRecycledPID(t *testing.T) {
	_, p := start(t)
	other := p
	other.StartTime++
	if other.Alive() {
		t.Error("another process with the same pid is alive")
	}
	if err := other.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal = %v, want os.ErrProcessDone", err)
	}
	if !p.Alive() {
		t.Error("the signal reached the wrong process")
	}
}

func TestReaped(t *testing.T) {
	cmd, p := start(t)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if p.Alive() {
		t.Error("a reaped process is alive")
	}
	if _, err := Find(p.PID); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Find = %v, want os.ErrProcessDone", err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Errorf("Wait = %v", err)
	}
}

func TestWaitIsCancelled(t *testing.T) {
	_, p := start(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Wait(ctx) }()
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("Wait = %v, want the context's cause", err)
	}
}

func TestNoProcess(t *testing.T) {
	var p Process
	if p.Alive() {
		t.Error("the zero process is alive")
	}
	if err := p.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal = %v, want os.ErrProcessDone", err)
	}
	for _, pid := range []int{0, -1} {
		if _, err := Find(pid); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("Find(%d) = %v, want os.ErrProcessDone", pid, err)
		}
	}
}
