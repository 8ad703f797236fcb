package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/passfd"
)

// lostCode is a shim's exit code when its sandbox went away under it: as if the process had been killed.
const lostCode = 128 + int(unix.SIGKILL)

// Main is the shim's process. It returns the exit code of the guest process.
func Main(log *logrus.Logger) (int, error) {
	// From here on a signal waits for its guest process instead of ending the shim.
	signals := catchSignals()
	control, err := openControl()
	if err != nil {
		return 1, err
	}
	defer control.Close()
	c, err := readConfig(control)
	if errors.Is(err, io.EOF) {
		return 1, nil // whoever started us has given up, and has said why
	}
	if err != nil {
		return 1, err
	}
	oom, err := openOOM(c)
	defer oom.close()
	var notify *net.UnixConn
	if err == nil {
		notify, err = dialNotify(c.Notify) // before the view hides it
	}
	if err == nil && c.View != nil {
		err = enterView(*c.View)
	}
	if sendErr := sendStatus(control, err); err != nil || sendErr != nil {
		return 1, errors.Join(err, sendErr)
	}
	files, err := receiveFiles(control)
	if err != nil {
		return 1, nil // whoever started us has said why
	}
	s, err := newSession(c, files)
	if err == nil && notify != nil {
		err = s.relayNotifications(notify)
	}
	if sendErr := sendStatus(control, err); err != nil || sendErr != nil {
		return 1, nil
	}
	_ = control.Close()
	s.oom = oom
	return s.run(signals, log)
}

func openControl() (*net.UnixConn, error) {
	f := os.NewFile(controlFD, "control")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return c.(*net.UnixConn), nil
}

func readConfig(control *net.UnixConn) (Config, error) {
	buf := make([]byte, maxMessage)
	n, err := control.Read(buf)
	if err != nil {
		return Config{}, fmt.Errorf("read the shim's configuration: %w", err)
	}
	var c Config
	if err := json.Unmarshal(buf[:n], &c); err != nil {
		return Config{}, fmt.Errorf("read the shim's configuration: %w", err)
	}
	return c, nil
}

// session is a shim at work.
type session struct {
	config   Config
	process  *agentproto.Process
	agent    *agentclient.Client
	lifeline net.Conn
	oom      *oomReport    // of a container's init
	notified chan struct{} // closed when all notifications were relayed; nil when there are none to relay
}

// newSession connects to the agent over a connection that the parent has opened.
func newSession(c Config, files []*os.File) (*session, error) {
	conns := make([]net.Conn, 0, len(files))
	for _, f := range files {
		conn, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			return nil, err
		}
		conns = append(conns, conn)
	}
	if len(conns) != 2 {
		return nil, fmt.Errorf("%d connections were passed, want those to the agent and to the monitor", len(conns))
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	client, err := agentclient.Dial(ctx, once(conns[0]))
	if err != nil {
		return nil, fmt.Errorf("connect to the agent: %w", err)
	}
	return &session{
		config: c, agent: client, lifeline: conns[1],
		process: &agentproto.Process{ContainerId: c.ContainerID, ExecId: c.ExecID},
	}, nil
}

// once is a dialer for a connection that exists already. A second call fails: the sandbox is gone then.
func once(conn net.Conn) agentclient.Dialer {
	first := make(chan net.Conn, 1)
	first <- conn
	return func(context.Context) (net.Conn, error) {
		select {
		case c := <-first:
			return c, nil
		default:
			return nil, errors.New("the connection to the sandbox is lost")
		}
	}
}

// run forwards stdio, window size and signals until the guest process has ended.
func (s *session) run(signals *signalQueue, log *logrus.Logger) (int, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stdio := agentclient.Stdio{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Files: s.files()}
	if s.config.Terminal {
		stdio.Stderr = nil
		stdio.Resize = signals.sizes(ctx, os.Stdin)
	}
	go signals.forward(ctx, s.agent, s.process, log)
	code, err := s.agent.Attach(ctx, s.process, stdio)
	if err != nil {
		log.Errorf("container %s: the sandbox was lost: %v", s.config.ContainerID, err)
		code = lostCode
	}
	s.finishNotifications()
	killed := err == nil && s.config.ExecID == "" && s.outOfMemory(ctx, log)
	_ = s.agent.Close()
	s.waitForSandbox(log)
	if killed {
		// Only now, when the VM is no longer in the cgroup.
		if err := s.oom.send(); err != nil {
			log.Warnf("container %s: telling of its OOM kill: %v", s.config.ContainerID, err)
		}
	}
	return code, nil
}

// files are the descriptors that were passed for the process.
func (s *session) files() []agentclient.File {
	var files []agentclient.File
	for i, kind := range s.config.Files {
		file, ok := passfd.Open(os.NewFile(uintptr(filesFD+i), "passed"), kind, controlFD+i)
		if ok {
			files = append(files, file)
		}
	}
	return files
}

// sandboxTimeout bounds how long the shim waits for its sandbox to be taken down.
const sandboxTimeout = 15 * time.Second

// waitForSandbox tells the monitor that the process has ended, and, for a container's init, returns when the monitor has let go of the
// container's root and volumes: what the engine does next (unmount, restart) must not meet them in use.
func (s *session) waitForSandbox(log *logrus.Logger) {
	defer s.lifeline.Close()
	if s.config.ExecID != "" {
		return
	}
	if u, ok := s.lifeline.(*net.UnixConn); ok {
		_ = u.CloseWrite()
	}
	_ = s.lifeline.SetReadDeadline(time.Now().Add(sandboxTimeout))
	_, err := s.lifeline.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		log.Errorf("container %s: its sandbox was not taken down within %v", s.config.ContainerID, sandboxTimeout)
	}
}
