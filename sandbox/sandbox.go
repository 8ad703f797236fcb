package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/internal/undo"
	"github.com/runvm/runvm/internal/unixsock"
	"github.com/runvm/runvm/netns"
	"github.com/runvm/runvm/vmm"
)

// shareTag is the mount tag of the sandbox's one share.
const shareTag = "runvm"

// Sandbox is a running virtual machine.
type Sandbox struct {
	config  Config
	log     func(format string, args ...any) // warnings
	tree    *tree
	daemon  *vmm.Process // virtiofsd; nil with 9p
	vm      *vmm.Process
	qmp     *vmm.QMP
	console *console
	channel channel
	agent   *agentclient.Client

	maxFiles uint64 // that virtiofsd may have open

	life     context.Context // until Stop
	end      context.CancelFunc
	follower follower
	ports    int // of the machine; vmm.PortID names them

	mu        sync.Mutex // guards what hot-plug changes
	nics      []*nic
	disks     []*disk
	network   netns.State // what the guest was told last
	relaysDNS bool

	loopback *netns.Loopback // nil: the kernel cannot
}

// Boot makes the sandbox: share, taps, virtiofsd, QEMU, agent. What fails leaves nothing behind.
func Boot(ctx context.Context, c Config, warn func(format string, args ...any)) (_ *Sandbox, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.BootTimeout,
		fmt.Errorf("no answer within %v (vm.boot_timeout_seconds)", c.BootTimeout))
	defer cancel()
	var u undo.Stack
	defer u.Run(&err)
	s := &Sandbox{config: c, log: warn}
	s.life, s.end = context.WithCancel(context.Background())
	u.Push(func() error { s.end(); return nil })

	if s.tree, err = newTree(c.Dirs.Shared); err != nil {
		return nil, err
	}
	u.Push(s.tree.close)
	if err = pruneMounts(c.keepPaths()); err != nil {
		return nil, err
	}

	u.Push(s.stopFollowing)
	if err = s.watchNetwork(); err != nil {
		return nil, err
	}
	state, err := netns.Read(c.NetNS)
	if err != nil {
		return nil, fmt.Errorf("read the network namespace: %w", err)
	}
	u.Push(s.detachNICs)
	if err = s.attachNICs(state); err != nil {
		return nil, err
	}

	if err = s.startMachine(ctx, state); err != nil {
		return nil, err
	}
	s.reflectLoopback()
	close(s.follower.start)
	u.Release()
	return s, nil
}

// startMachine gets the guest ready for its first container: from the template, if there is one, else by booting.
func (s *Sandbox) startMachine(ctx context.Context, state netns.State) error {
	if s.config.Template != "" {
		err := s.fromTemplate(ctx, state)
		if err == nil || ctx.Err() != nil {
			return err
		}
		err = errors.Join(err, MarkTemplateFailed(s.config.Template, err))
		s.log("the template %s could not be used, so the virtual machine boots: %v", s.config.Template, err)
	}
	return s.fromBoot(ctx, state)
}

// fromBoot boots the guest's kernel. What fails leaves nothing behind.
func (s *Sandbox) fromBoot(ctx context.Context, state netns.State) (err error) {
	var u undo.Stack
	defer u.Run(&err)
	u.Push(s.stopMachine)
	if err = s.startDaemon(); err != nil {
		return err
	}
	if s.channel, err = newChannel(s.config.Vsock); err != nil {
		return err
	}
	if err = s.startVM(ctx, s.vmConfig, s.jail()); err != nil {
		return err
	}
	s.adoptNICs()
	if err = s.waitForAgent(ctx); err != nil {
		return err
	}
	if err = s.configure(ctx, state); err != nil {
		return err
	}
	u.Release()
	return nil
}

// stopMachine ends QEMU and virtiofsd, and removes what fromTemplate or fromBoot made, in whole or in part. Idempotent.
func (s *Sandbox) stopMachine() error {
	if s.agent != nil {
		_ = s.agent.Close()
	}
	errs := []error{s.stopVM()}
	if s.channel != nil {
		errs = append(errs, s.channel.close())
	}
	return errors.Join(append(errs, s.stopDaemon())...)
}

func newChannel(overVsock bool) (channel, error) {
	if overVsock {
		return newVsockChannel()
	}
	return newSerialChannel()
}

// startDaemon starts virtiofsd with a socket that already listens, so that nobody waits for it to appear.
func (s *Sandbox) startDaemon() error {
	c := s.config
	if c.Virtiofsd == "" {
		return nil
	}
	l, err := unixsock.Listen(c.Dirs.VM, c.Dirs.Share)
	if err != nil {
		return fmt.Errorf("virtiofsd's socket: %w", err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	if err := os.Chown(filepath.Join(c.Dirs.VM, c.Dirs.Share), int(qemuID()), int(qemuID())); err != nil {
		return fmt.Errorf("virtiofsd's socket: %w", err)
	}
	socket, err := l.File()
	if err != nil {
		return fmt.Errorf("virtiofsd's socket: %w", err)
	}
	defer socket.Close()
	if s.maxFiles, err = raiseFileLimit(); err != nil {
		return err
	}
	s.daemon, err = vmm.StartVirtiofsd(vmm.VirtiofsdOptions{
		RlimitNofile: s.maxFiles,
		Binary:       c.Virtiofsd, Rust: c.VirtiofsdRust, SharedDir: c.Dirs.Shared, Socket: socket,
		Cache: c.Cache, TimeoutSec: c.CacheTimeout, XattrEnabled: true, AnnounceSubmounts: true,
	})
	return err
}

// enoughFiles is what virtiofsd asks for by itself: one open file for each inode in the guest's cache.
const enoughFiles = 1_000_000

// raiseFileLimit makes the hard limit of open files at least enoughFiles, as far as this process may, and returns it.
func raiseFileLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	if limit.Max >= enoughFiles {
		return limit.Max, nil
	}
	more := unix.Rlimit{Cur: enoughFiles, Max: enoughFiles}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &more); err == nil {
		return more.Max, nil
	}
	return limit.Max, nil // without CAP_SYS_RESOURCE: the guest is told to remember fewer files
}

func (s *Sandbox) stopDaemon() error {
	if s.daemon == nil {
		return nil
	}
	s.daemon.Kill()
	<-s.daemon.Done()
	return nil
}

// qemuIDBase and the monitor's pid make a user id that no account and no other living sandbox has, so that one
// compromised QEMU cannot signal or trace another.
const qemuIDBase = 0x78000000

func qemuID() uint32 { return qemuIDBase + uint32(os.Getpid()) }

// startVM starts QEMU in its jail and connects to its QMP socket.
func (s *Sandbox) startVM(ctx context.Context, configure func(qmp, console *os.File) vmm.Config, jail vmm.Jail) error {
	listener, err := unixsock.Listen(s.config.Dirs.VM, s.config.Dirs.QMP)
	if err != nil {
		return fmt.Errorf("QMP socket: %w", err)
	}
	defer listener.Close()
	qmpFile, err := listener.File()
	if err != nil {
		return fmt.Errorf("QMP socket: %w", err)
	}
	defer qmpFile.Close()
	consoleConn, consoleGuest, err := socketpair("console")
	if err != nil {
		return err
	}
	s.console = newConsole(consoleConn)
	defer consoleGuest.Close()

	if s.vm, err = vmm.Start(configure(qmpFile, consoleGuest), s.config.QEMU, jail); err != nil {
		return fmt.Errorf("start QEMU: %w", err)
	}
	// From here only QEMU listens: one that ends before it accepts refuses or resets the connection, at once.
	if err := errors.Join(listener.Close(), qmpFile.Close()); err != nil {
		return fmt.Errorf("QMP socket: %w", err)
	}
	if s.channel != nil {
		s.channel.started()
	}
	err = unixsock.WithAddress(s.config.Dirs.VM, s.config.Dirs.QMP, func(address string) error {
		s.qmp, err = vmm.DialQMP(ctx, address)
		return err
	})
	if err != nil {
		return s.explain(fmt.Errorf("connect to QMP: %w", err))
	}
	return nil
}

func (s *Sandbox) stopVM() error {
	if s.vm != nil {
		s.vm.Kill()
		<-s.vm.Done()
	}
	if s.qmp != nil {
		_ = s.qmp.Close()
	}
	if s.console != nil {
		s.console.close()
	}
	return nil
}

// whileVMRuns derives a context that ends when the virtual machine does, with errVMEnded.
func (s *Sandbox) whileVMRuns(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := s.vm.Done()
	go func() {
		select {
		case <-ended:
			cancel(errVMEnded)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// waitForAgent waits until the agent serves, QEMU dies or the boot takes too long.
func (s *Sandbox) waitForAgent(ctx context.Context) error {
	ctx, cancel := s.whileVMRuns(ctx)
	defer cancel()
	if err := s.channel.wait(ctx); err != nil {
		return s.explain(err)
	}
	client, err := agentclient.Dial(ctx, s.channel.dial)
	if err != nil {
		return s.explain(err)
	}
	s.agent = client
	return nil
}

var errVMEnded = errors.New("the virtual machine ended")

// explain adds to an error of the boot what QEMU and the guest's console said.
func (s *Sandbox) explain(err error) error {
	// A lost connection is often the first that is seen of a QEMU that has ended.
	select {
	case <-s.vm.Done():
		err = errors.Join(err, s.vm.Err())
	case <-time.After(endGrace):
	}
	if text := strings.TrimSpace(s.console.text()); text != "" {
		err = fmt.Errorf("%w; the guest's console ends with: %q", err, text)
	}
	return err
}

// endGrace is how long an error of the boot waits for QEMU's own words.
const endGrace = 500 * time.Millisecond

// configure tells the agent what the guest must know before its first container.
func (s *Sandbox) configure(ctx context.Context, state netns.State) error {
	entropy := make([]byte, 256)
	if _, err := rand.Read(entropy); err != nil {
		return err
	}
	request := &agentproto.ConfigureSandboxRequest{
		SandboxId: s.config.ID, Hostname: s.config.Hostname,
		UnixTimeNs: time.Now().UnixNano(), Entropy: entropy, Share: s.share(),
	}
	if _, err := s.agent.Agent().ConfigureSandbox(ctx, request); err != nil {
		return s.explain(fmt.Errorf("prepare the guest: %w", agentclient.FromStatus(err)))
	}
	if err := s.configureNetwork(ctx, state); err != nil {
		return err
	}
	return s.relayDNS(ctx)
}

// Dial opens a connection to the agent.
func (s *Sandbox) Dial(ctx context.Context) (net.Conn, error) { return s.channel.dial(ctx) }

// KillProcess ends a process that exec started. One that has ended is no error.
func (s *Sandbox) KillProcess(ctx context.Context, id, execID string) error {
	_, err := s.agent.Agent().SignalProcess(ctx, &agentproto.SignalProcessRequest{
		Process: &agentproto.Process{ContainerId: id, ExecId: execID}, Signal: uint32(unix.SIGKILL),
	})
	if err = agentclient.FromStatus(err); errors.Is(err, agentclient.ErrNotFound) {
		return nil
	}
	return err
}

// Done is closed when the virtual machine has ended, on its own or because virtiofsd did.
func (s *Sandbox) Done() <-chan struct{} { return s.vm.Done() }

// DaemonDone is closed when virtiofsd has ended; nil, which never is ready, when there is none.
func (s *Sandbox) DaemonDone() <-chan struct{} {
	if s.daemon == nil {
		return nil
	}
	return s.daemon.Done()
}

// Reason says why the virtual machine ended, with the end of the guest's console.
func (s *Sandbox) Reason() error { return s.explain(errVMEnded) }

// Stop ends the virtual machine and removes everything that Boot made. The containers have ended by then, or shall.
func (s *Sandbox) Stop() error {
	s.end()
	_ = s.stopFollowing()
	reflecting := s.stopReflecting()
	_ = s.agent.Close()
	s.quit()
	return errors.Join(reflecting, s.stopMachine(), s.detachNICs(), s.tree.close())
}

// quit asks QEMU to end, and waits for it.
func (s *Sandbox) quit() {
	select {
	case <-s.vm.Done():
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), quitTimeout)
	defer cancel()
	if err := s.qmp.Quit(ctx); err != nil {
		return
	}
	select {
	case <-s.vm.Done():
	case <-ctx.Done():
	}
}

// quitTimeout is how long QEMU may take to obey "quit"; then it is killed.
const quitTimeout = 3 * time.Second

// console keeps the last bytes that the guest's kernel wrote to its serial console.
type console struct {
	conn net.Conn
	mu   sync.Mutex
	tail []byte
	done chan struct{}
}

const consoleTail = 2048

func newConsole(conn net.Conn) *console {
	c := &console{conn: conn, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		_, _ = io.Copy(c, conn)
	}()
	return c
}

// Write keeps what comes from the guest, bounded.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tail = append(c.tail, p...)
	if extra := len(c.tail) - consoleTail; extra > 0 {
		c.tail = append(c.tail[:0], c.tail[extra:]...)
	}
	return len(p), nil
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.tail)
}

func (c *console) close() {
	_ = c.conn.Close()
	<-c.done
}
