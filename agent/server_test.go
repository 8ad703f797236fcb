package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agent/executor"
	"github.com/runvm/runvm/agent/process"
	"github.com/runvm/runvm/agent/reaper"
	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
)

// The tests of this file run the real server and client over yamux. The processes are ordinary children with the stdio
// of a container's: making containers needs a guest.

// connect starts a server in this process and returns a client of it.
func connect(t testing.TB, s *Server) *agentclient.Client {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		if conns[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	config.MaxStreamWindowSize = 1 << 20
	guest, err := yamux.Server(conns[0], config)
	if err != nil {
		t.Fatal(err)
	}
	host, err := yamux.Client(conns[1], config)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(guest) }()
	client, err := agentclient.Dial(t.Context(), func(context.Context) (net.Conn, error) { return host.Open() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		s.grpc.Stop()
		_ = host.Close()
	})
	return client
}

func newServer(t testing.TB) *Server {
	t.Helper()
	return New(Options{Executor: executor.New(t.TempDir(), reaper.New()), Version: "test"})
}

// add starts a command as the process id of the container "c".
func (s *Server) add(t testing.TB, id, script string) *agentproto.Process {
	t.Helper()
	streams, child, err := process.Pipes(os.Getuid(), os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = child.Stdin, child.Stdout, child.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	p := process.New(cmd.Process.Pid, streams, process.Ops{
		Wait: func() (syscall.WaitStatus, error) {
			_ = cmd.Wait() // its error is the status
			return cmd.ProcessState.Sys().(syscall.WaitStatus), nil
		},
		Signal: func(s unix.Signal) error { return cmd.Process.Signal(s) },
	})
	if _, err := s.containers.get("c"); err != nil {
		_ = s.containers.claim("c")
	}
	s.containers.mu.Lock()
	s.containers.byID["c"].processes[id] = nil
	s.containers.mu.Unlock()
	s.containers.setProcess("c", id, p)
	return &agentproto.Process{ContainerId: "c", ExecId: id}
}

func attach(t testing.TB, c *agentclient.Client, p *agentproto.Process, stdin io.Reader) (int, string, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code, err := c.Attach(t.Context(), p, agentclient.Stdio{Stdin: stdin, Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		t.Fatal(err)
	}
	return code, stdout.String(), stderr.String()
}

func TestHello(t *testing.T) {
	c := connect(t, newServer(t))
	if h := c.Hello(); h.GetVersion() != "test" || h.GetKernelRelease() == "" || h.GetBootId() != "" {
		t.Errorf("hello %v", h)
	}
}

func TestProcessStdio(t *testing.T) {
	s := newServer(t)
	c := connect(t, s)
	code, stdout, stderr := attach(t, c, s.add(t, "p", "cat; echo e >&2; exit 200"), strings.NewReader("in"))
	if code != 200 || stdout != "in" || stderr != "e\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestEchoLosesNothing(t *testing.T) {
	s := newServer(t)
	c := connect(t, s)
	const size = 50 << 20
	input := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	started := time.Now()
	code, stdout, _ := attach(t, c, s.add(t, "p", "exec cat"), bytes.NewReader(input))
	took := time.Since(started)
	if code != 0 || stdout != string(input) {
		t.Fatalf("code %d, %d of %d bytes", code, len(stdout), size)
	}
	t.Logf("echo through yamux, gRPC and cat: %.0f MB/s", size/1e6/took.Seconds())
}

func TestManyProcesses(t *testing.T) {
	s := newServer(t)
	c := connect(t, s)
	var wg sync.WaitGroup
	for i := range 50 {
		p := s.add(t, fmt.Sprint(i), fmt.Sprintf("cat; exit %d", i))
		wg.Go(func() {
			in := strings.Repeat(fmt.Sprint(i), 10000)
			if code, out, _ := attach(t, c, p, strings.NewReader(in)); code != i || out != in {
				t.Errorf("process %d: code %d, %d bytes", i, code, len(out))
			}
		})
	}
	wg.Wait()
}

// A writer on the host that breaks becomes EPIPE in the guest.
func TestBrokenWriter(t *testing.T) {
	s := newServer(t)
	c := connect(t, s)
	r, w := io.Pipe()
	_ = r.Close()
	code, err := c.Attach(t.Context(), s.add(t, "p", "exec yes"), agentclient.Stdio{Stdout: w})
	if err != nil || code != 128+int(unix.SIGPIPE) {
		t.Errorf("code %d, err %v", code, err)
	}
}

func TestStdinOfAnEndedProcess(t *testing.T) {
	s := newServer(t)
	c := connect(t, s)
	endless := &endlessReader{}
	if code, _, _ := attach(t, c, s.add(t, "p", "exit 3"), endless); code != 3 {
		t.Errorf("code %d", code)
	}
}

type endlessReader struct{}

func (*endlessReader) Read(b []byte) (int, error) { return len(b), nil }

func TestWaitIsRepeatable(t *testing.T) {
	s := newServer(t)
	c := connect(t, s)
	p := s.add(t, "p", "exec sleep 1000")
	if _, err := c.Agent().SignalProcess(t.Context(), &agentproto.SignalProcessRequest{Process: p, Signal: 15}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		exit, err := c.Agent().WaitProcess(t.Context(), &agentproto.WaitProcessRequest{Process: p})
		if err != nil || exit.GetCode() != 143 || exit.GetSignal() != 15 {
			t.Errorf("exit %v, err %v", exit, err)
		}
	}
	_, err := c.Agent().SignalProcess(t.Context(), &agentproto.SignalProcessRequest{Process: p, Signal: 15})
	if !errors.Is(agentclient.FromStatus(err), agentclient.ErrNotFound) {
		t.Errorf("signal after the end: %v", err)
	}
}

func TestErrors(t *testing.T) {
	s := newServer(t)
	c := connect(t, s)
	ctx, a := t.Context(), c.Agent()
	p := s.add(t, "p", "exec sleep 1000")
	for name, test := range map[string]struct {
		call func() error
		want error
		text string
	}{
		"unknown container": {func() error {
			_, err := a.StartContainer(ctx, &agentproto.StartContainerRequest{ContainerId: "x"})
			return err
		}, agentclient.ErrNotFound, `container "x" does not exist`},
		"unknown process": {func() error {
			_, err := a.WaitProcess(ctx, &agentproto.WaitProcessRequest{Process: &agentproto.Process{ContainerId: "c", ExecId: "x"}})
			return err
		}, agentclient.ErrNotFound, `process "x" of container "c" does not exist`},
		"bad signal": {func() error {
			_, err := a.SignalProcess(ctx, &agentproto.SignalProcessRequest{Process: p, Signal: 65})
			return err
		}, agentclient.ErrInvalid, "signal 65"},
		"no terminal": {func() error {
			_, err := a.ResizeTerminal(ctx, &agentproto.ResizeTerminalRequest{Process: p})
			return err
		}, agentclient.ErrInvalid, "no such stream"},
		"bad spec": {func() error {
			_, err := a.CreateContainer(ctx, &agentproto.CreateContainerRequest{ContainerId: "new", Spec: []byte("{")})
			return err
		}, agentclient.ErrInvalid, "config.json"},
		"taken id": {func() error {
			_, err := a.CreateContainer(ctx, &agentproto.CreateContainerRequest{ContainerId: "c"})
			return err
		}, agentclient.ErrExists, "container with given ID already exists"},
		"bad sysctl": {func() error {
			_, err := a.CreateContainer(ctx, &agentproto.CreateContainerRequest{ContainerId: "new", GuestSysctls: map[string]string{"../x": "1"}})
			return err
		}, agentclient.ErrFailedPrecondition, "invalid sysctl name"},
	} {
		err := agentclient.FromStatus(test.call())
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.DeleteContainer(ctx, &agentproto.DeleteContainerRequest{ContainerId: "x"}); err != nil {
		t.Errorf("delete of an unknown container: %v", err)
	}
}

// Months of health checks must not pile up.
func TestEndedProcessesAreForgotten(t *testing.T) {
	var r registry
	if err := r.claim("c"); err != nil {
		t.Fatal(err)
	}
	for i := range maxEnded + 10 {
		id := fmt.Sprint(i)
		r.byID["c"].processes[id] = nil
		p := process.New(0, &process.Streams{}, process.Ops{Wait: func() (syscall.WaitStatus, error) { return 0, nil }})
		<-p.Done()
		r.byID["c"].processes[id] = p
		r.retire("c", id, p)
	}
	if n := len(r.byID["c"].processes); n != maxEnded {
		t.Errorf("%d processes are remembered, want %d", n, maxEnded)
	}
	if _, err := r.process(&agentproto.Process{ContainerId: "c", ExecId: "0"}); err == nil {
		t.Error("the oldest process is remembered")
	}
}

func TestShutdownAnswersFirst(t *testing.T) {
	off := make(chan struct{})
	s := New(Options{
		Executor: executor.New(t.TempDir(), reaper.New()),
		PowerOff: func() error { close(off); return nil },
	})
	c := connect(t, s)
	if _, err := c.Agent().Shutdown(t.Context(), &agentproto.ShutdownRequest{}); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	select {
	case <-off:
	case <-time.After(10 * time.Second):
		t.Error("the power is still on")
	}
}
