// Package console makes the pseudo-terminal that stands on the host for a guest process's terminal, and connects a
// user's terminal to it.
package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"

	"github.com/containerd/console"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Pair is a pty on the host. The slave is raw: the line discipline that the process sees is that of the guest's pty.
type Pair struct {
	Master console.Console
	Slave  *os.File
}

// New makes a pty of the given size; nil leaves the size to whoever gets the master. The caller calls Close.
func New(size *specs.Box) (*Pair, error) {
	master, path, err := console.NewPty()
	if err != nil {
		return nil, fmt.Errorf("make a pty: %w", err)
	}
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the pty: %w", err), master.Close())
	}
	p := &Pair{Master: master, Slave: slave}
	if err := makeRaw(slave); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if size != nil {
		if err := master.Resize(console.WinSize{Height: uint16(size.Height), Width: uint16(size.Width)}); err != nil {
			return nil, errors.Join(fmt.Errorf("set the size of the pty: %w", err), p.Close())
		}
	}
	return p, nil
}

// Close closes both ends.
func (p *Pair) Close() error { return errors.Join(p.Master.Close(), p.Slave.Close()) }

// makeRaw switches off every translation and echo, as cfmakeraw(3) does.
func makeRaw(f *os.File) error {
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return fmt.Errorf("read terminal settings: %w", err)
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return fmt.Errorf("make the terminal raw: %w", err)
	}
	return nil
}

// Send passes the master to whoever listens on the console socket (runc's --console-socket contract: one message whose
// text is the terminal's name and whose ancillary data is its descriptor).
func (p *Pair) Send(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	defer conn.Close()
	rights := unix.UnixRights(int(p.Master.Fd()))
	if _, _, err := conn.(*net.UnixConn).WriteMsgUnix([]byte(p.Master.Name()), rights, nil); err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	return nil
}

// Relay connects the user's terminal to the pty. It returns a function that restores the terminal, after what the
// process wrote has been shown.
func (p *Pair) Relay(ctx context.Context) (finish func(), err error) {
	user, err := userTerminal()
	if err != nil {
		return nil, err
	}
	saved, err := unix.IoctlGetTermios(int(user.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("read terminal settings: %w", err)
	}
	if err := makeRaw(user); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	go p.follow(ctx, user)
	shown := make(chan struct{})
	go func() { _, _ = io.Copy(p.Master, os.Stdin) }()
	go func() {
		defer close(shown)
		_, _ = io.Copy(os.Stdout, p.Master) // ends with EIO when the last slave is closed
	}()
	_ = p.Slave.Close()
	return func() {
		<-shown
		cancel()
		_ = unix.IoctlSetTermios(int(user.Fd()), unix.TCSETS, saved)
	}, nil
}

// follow keeps the pty's size that of the user's terminal.
func (p *Pair) follow(ctx context.Context, user *os.File) {
	winch := make(chan os.Signal, 1)
	signal.Notify(winch, unix.SIGWINCH)
	defer signal.Stop(winch)
	for {
		if w, err := unix.IoctlGetWinsize(int(user.Fd()), unix.TIOCGWINSZ); err == nil {
			_ = p.Master.Resize(console.WinSize{Height: w.Row, Width: w.Col})
		}
		select {
		case <-winch:
		case <-ctx.Done():
			return
		}
	}
}

// userTerminal finds the caller's terminal among its standard streams, then as its controlling terminal.
func userTerminal() (*os.File, error) {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			return f, nil
		}
	}
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("the process wants a terminal and there is none: %w", err)
	}
	return f, nil
}
