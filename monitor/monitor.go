package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/internal/unixsock"
	"github.com/runvm/runvm/sandbox"
)

// controlFD is where Start puts the control socket.
const controlFD = 3

// monitor is the process's state.
type monitor struct {
	sandbox *sandbox.Sandbox
	guest   guest // the sandbox, to the members
	log     *logrus.Logger

	mu      sync.Mutex
	members map[string]*member
	idle    chan struct{} // closed when the last container has ended, or its creator gave up
	ended   bool
	stopped chan struct{} // closed when the sandbox is gone
}

// Main is the monitor's process. It returns when the sandbox is gone.
func Main(ctx context.Context, log *logrus.Logger) error {
	if err := leaveParent(); err != nil {
		return err
	}
	file := os.NewFile(controlFD, "control")
	control, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	defer control.Close()
	var s setup
	if err := readLine(control, &s); err != nil {
		return fmt.Errorf("read the sandbox's configuration: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	m := &monitor{log: log, members: map[string]*member{}, idle: make(chan struct{}), stopped: make(chan struct{})}
	return m.run(ctx, control, s)
}

// leaveParent makes the mount namespace, which was born as a copy of the host's, follow the host without giving
// anything back.
func leaveParent() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("detach the mount namespace from the host's: %w", err)
	}
	return nil
}

func (m *monitor) run(ctx context.Context, control net.Conn, s setup) (err error) {
	boot, cancel := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, control)
		close(gone)
		cancel()
	}()
	m.sandbox, err = sandbox.Boot(boot, s.Sandbox, m.log.Warnf)
	if err != nil {
		return errors.Join(answer(control, err))
	}
	m.guest = m.sandbox
	defer func() { err = errors.Join(err, m.stop()) }()
	listeners, err := m.listen(s)
	if err != nil {
		return answer(control, err)
	}
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	if err := answer(control, nil); err != nil {
		return nil
	}
	go func() {
		<-gone
		m.ifIdle()
	}()
	return m.wait(ctx)
}

// listen serves the two sockets.
func (m *monitor) listen(s setup) ([]*net.UnixListener, error) {
	requests, err := unixsock.Listen(s.Directory, s.Monitor)
	if err != nil {
		return nil, err
	}
	agents, err := unixsock.Listen(s.Directory, s.Agent)
	if err != nil {
		return nil, errors.Join(err, requests.Close())
	}
	go serve(requests, m.handle)
	go serve(agents, m.forward)
	return []*net.UnixListener{requests, agents}, nil
}

// wait returns when the sandbox has nothing left to do.
func (m *monitor) wait(ctx context.Context) error {
	select {
	case <-m.idle:
	case <-ctx.Done():
	case <-m.sandbox.Done():
		m.log.Error(m.sandbox.Reason())
	case <-m.sandbox.DaemonDone():
		m.log.Error("virtiofsd ended while its virtual machine ran; taking the sandbox down")
	}
	return nil
}

// stop takes the sandbox down and then, by closing the lifelines, tells the shims.
func (m *monitor) stop() error {
	m.mu.Lock()
	m.end() // nobody joins any more
	m.mu.Unlock()
	err := m.sandbox.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.stopped)
	for _, member := range m.members {
		member.closeLifeline()
	}
	return err
}

// networkTimeout bounds how long a caller waits for the guest to follow its network, or for a device to be plugged in.
const networkTimeout = time.Minute

func serve(l *net.UnixListener, handle func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go handle(c)
	}
}

// handle answers one request.
func (m *monitor) handle(c net.Conn) {
	var r request
	if err := readLine(c, &r); err != nil {
		_ = c.Close()
		return
	}
	switch r.Op {
	case opJoin:
		m.join(c.(*net.UnixConn), r.Container, r.Dir)
	case opAttach:
		m.attach(c, r.Container)
	case opRemove:
		m.remove(c, r.Container)
	case opAttachExec:
		m.attachExec(c, r.Container, r.Exec)
	case opNetwork:
		ctx, cancel := context.WithTimeout(context.Background(), networkTimeout)
		defer cancel()
		_ = answer(c, m.sandbox.UpdateNetwork(ctx))
		_ = c.Close()
	default:
		_ = answer(c, fmt.Errorf("unknown operation %q", r.Op))
		_ = c.Close()
	}
}

// attachExec holds the lifeline of a process until the other side closes it, and then makes sure that the process ends.
func (m *monitor) attachExec(c net.Conn, id, execID string) {
	defer c.Close()
	if answer(c, nil) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c)
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := m.sandbox.KillProcess(ctx, id, execID); err != nil {
		m.log.Debugf("end process %s of container %s: %v", execID, id, err)
	}
}

// forward connects a client to the agent, byte for byte.
func (m *monitor) forward(client net.Conn) {
	defer client.Close()
	agent, err := m.sandbox.Dial(context.Background())
	if err != nil {
		return
	}
	defer agent.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(agent, client)
		_ = agent.Close()
	}()
	_, _ = io.Copy(client, agent)
	_ = client.Close()
	<-done
}
