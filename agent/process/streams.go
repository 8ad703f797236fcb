// Package process is one guest process as the agent sees it: its end and its stdio.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Names of a process's outputs. A process with a terminal has only Stdout.
const (
	Stdout = iota
	Stderr
	outputs
)

// Errors of Streams.
var (
	ErrNoStream = errors.New("the process has no such stream")
	ErrAttached = errors.New("the stream has a reader already")
)

// pipeSize is the capacity asked for an output's pipe, in bytes: what a process can write ahead of its reader.
const pipeSize = 1 << 20

// Size is a terminal's size in character cells.
type Size struct {
	Height, Width uint16
}

// Streams is the agent's side of a process's stdio: three pipes, or the master of a pty.
type Streams struct {
	in       *input
	out      [outputs]*output
	terminal *os.File
	files    *Files // nil for none
}

// Child is the process's side. The agent closes it when the process has been started.
type Child struct {
	Stdin, Stdout, Stderr *os.File
}

// Close closes the agent's copies of the process's side.
func (c *Child) Close() {
	for _, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// Pipes makes three pipes whose process side belongs to uid and gid of the guest's root user namespace: opening
// /dev/stdout anew needs permission on the pipe.
func Pipes(uid, gid int) (_ *Streams, _ *Child, err error) {
	s, c := &Streams{}, &Child{}
	defer func() {
		if err != nil {
			s.Close()
			c.Close()
		}
	}()
	var agentSide *os.File
	if c.Stdin, agentSide, err = os.Pipe(); err != nil {
		return nil, nil, err
	}
	s.in = &input{f: agentSide, half: agentSide.Close}
	for i, side := range []**os.File{&c.Stdout, &c.Stderr} {
		if agentSide, *side, err = os.Pipe(); err != nil {
			return nil, nil, err
		}
		s.out[i] = newOutput(agentSide, resizePipe(agentSide))
	}
	for _, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if err := f.Chown(uid, gid); err != nil {
			return nil, nil, err
		}
	}
	return s, c, nil
}

// resizePipe returns the pipe's capacity in bytes. The kernel may refuse another than its default.
func resizePipe(f *os.File) int {
	size, defaultSize := 0, 64<<10
	_ = control(f, func(fd int) (err error) {
		size, err = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeSize)
		return err
	})
	return max(size, defaultSize)
}

// Terminal takes over the master of a process's pty.
func Terminal(master *os.File) *Streams {
	s := &Streams{in: &input{f: master}, terminal: master}
	s.out[Stdout] = newOutput(master, pipeSize)
	return s
}

// Read sends what the process writes to one of its outputs, in pieces of at most 64 KiB, until it is closed or the
// process has ended and what it had written was sent. ErrAttached: somebody reads it already, or has.
//
// If ctx ends or send fails, the reading side is closed, so that the process gets EPIPE (SIGHUP from a terminal), as it
// does when the reader of its pipe goes away.
func (s *Streams) Read(ctx context.Context, which int, send func([]byte) error) error {
	if which < 0 || which >= outputs || s.out[which] == nil {
		return ErrNoStream
	}
	return s.out[which].copyTo(ctx, send)
}

// ReadFile is Read for a passed file that the process writes, or for a connection.
func (s *Streams) ReadFile(ctx context.Context, number uint32, send func([]byte) error) error {
	p, err := s.files.find(number)
	if err != nil {
		return err
	}
	if p.out == nil {
		return fmt.Errorf("file descriptor %d: %w", number, ErrNoStream)
	}
	defer s.files.forget(number, p)
	return p.out.copyTo(ctx, send)
}

// WriteFile is Write for a passed file that the process reads, or for a connection.
func (s *Streams) WriteFile(ctx context.Context, number uint32, next func() ([]byte, error)) (uint64, error) {
	p, err := s.files.find(number)
	if err != nil {
		return 0, err
	}
	if p.in == nil {
		return 0, fmt.Errorf("file descriptor %d: %w", number, ErrNoStream)
	}
	defer s.files.forget(number, p)
	return p.in.copyFrom(ctx, next)
}

// Connect connects to a listening socket among the passed files. ReadFile and WriteFile take the number that it returns.
func (s *Streams) Connect(ctx context.Context, number uint32) (uint32, error) {
	if s.files == nil {
		return 0, fmt.Errorf("file descriptor %d: %w", number, ErrNoStream)
	}
	return s.files.Connect(ctx, number)
}

// TakeFiles makes s the owner of the agent's side of f. Nobody uses s yet.
func (s *Streams) TakeFiles(f *Files) { s.files = f }

// Write gives the process what next returns, until next fails, and then closes its stdin; the input of a terminal stays
// open, it has no half close. It returns how many bytes the process took. Write blocks while the process does not read,
// until ctx ends. A process that takes no more ends it early, without an error; next's error is returned unless it is
// io.EOF. ErrAttached: somebody else writes.
func (s *Streams) Write(ctx context.Context, next func() ([]byte, error)) (taken uint64, err error) {
	return s.in.copyFrom(ctx, next)
}

// Resize sets the terminal's size. ErrNoStream: the process has none.
func (s *Streams) Resize(size Size) error {
	if s.terminal == nil {
		return fmt.Errorf("terminal: %w", ErrNoStream)
	}
	return control(s.terminal, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	})
}

// ended is called when the process has ended: nothing that it wrote comes after that.
func (s *Streams) ended() {
	if s.in != nil {
		s.in.processEnded()
	}
	for _, o := range s.out {
		if o != nil {
			o.processEnded()
		}
	}
	s.files.processEnded()
}

// Close closes what nobody is using; a reader under way closes its stream itself when it is done.
func (s *Streams) Close() {
	for _, o := range s.out {
		if o != nil {
			o.closeUnused()
		}
	}
	if s.in != nil {
		s.in.closeHalf()
	}
	s.files.Close()
}

// control runs f with the descriptor of file, whatever its deadlines.
func control(file *os.File, f func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
