package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

// FirstFile is the descriptor of a process's first passed file.
const FirstFile = 3

// Files are descriptors beyond stdio that a process gets, standing in for those of the host's caller. They are numbered
// as the process numbers them, from FirstFile on; connections to its listening sockets come after those.
type Files struct {
	child []*os.File

	mu    sync.Mutex
	ours  map[uint32]*passed
	next  uint32
	ended bool
}

// passed is the agent's side of one file, or of one connection.
type passed struct {
	in   *input
	out  *output
	dial func(context.Context) (net.Conn, error) // of a listening socket
}

// NewFiles makes the files asked for. Pipes belong to uid and gid, as stdio does.
func NewFiles(list []*agentproto.PassedFile, uid, gid int) (_ *Files, err error) {
	if len(list) > agentproto.MaxPassedFiles {
		return nil, fmt.Errorf("%d files to pass, at most %d are allowed", len(list), agentproto.MaxPassedFiles)
	}
	f := &Files{ours: make(map[uint32]*passed)}
	defer func() {
		if err != nil {
			f.CloseChild()
			f.Close()
		}
	}()
	for i, one := range list {
		number := uint32(FirstFile + i)
		child, ours, err := makeFile(one, uid, gid)
		if err != nil {
			return nil, fmt.Errorf("file descriptor %d: %w", number, err)
		}
		f.child = append(f.child, child)
		f.ours[number] = ours
		f.next = number + 1
	}
	return f, nil
}

// Child is the process's side, in the order of its descriptors.
func (f *Files) Child() []*os.File { return f.child }

// CloseChild closes the agent's copies of the process's side, once that has started or failed to.
func (f *Files) CloseChild() {
	for _, c := range f.child {
		_ = c.Close()
	}
	f.child = nil
}

func makeFile(p *agentproto.PassedFile, uid, gid int) (child *os.File, ours *passed, err error) {
	switch p.GetKind() {
	case agentproto.PassedFile_PIPE_READER, agentproto.PassedFile_PIPE_WRITER:
		return makePipe(p.GetKind() == agentproto.PassedFile_PIPE_READER, uid, gid)
	case agentproto.PassedFile_STREAM:
		return makeStream(p.GetNonblock())
	case agentproto.PassedFile_LISTENER_UNIX:
		return makeListener(unix.AF_UNIX, p.GetNonblock(), &unix.SockaddrUnix{}) // without a name the kernel chooses one
	case agentproto.PassedFile_LISTENER_IPV4:
		return makeListener(unix.AF_INET, p.GetNonblock(), &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	case agentproto.PassedFile_LISTENER_IPV6:
		return makeListener(unix.AF_INET6, p.GetNonblock(), &unix.SockaddrInet6{Addr: [16]byte{15: 1}})
	case agentproto.PassedFile_DEVICE:
		return openDevice(p)
	case agentproto.PassedFile_FILE:
		return openFile(p)
	default:
		return nil, nil, fmt.Errorf("kind %v cannot be passed", p.GetKind())
	}
}

func makePipe(childReads bool, uid, gid int) (*os.File, *passed, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	child, ours := w, &passed{}
	if childReads {
		child, ours.in = r, &input{f: w, half: w.Close}
	} else {
		ours.out = newOutput(r, resizePipe(r))
	}
	if err := child.Chown(uid, gid); err != nil {
		return nil, nil, errors.Join(err, r.Close(), w.Close())
	}
	return child, ours, nil
}

// makeStream gives each direction a descriptor of its own, since each has deadlines of its own.
func makeStream(nonblock bool) (*os.File, *passed, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	// Before NewFile: a File that makes its descriptor non-blocking itself undoes that when it is handed on.
	err = unix.SetNonblock(fds[0], nonblock)
	child := os.NewFile(uintptr(fds[0]), "socket")
	if err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("fcntl", err), child.Close(), unix.Close(fds[1]))
	}
	ours, err := streamOf(fds[1])
	if err != nil {
		return nil, nil, errors.Join(err, child.Close())
	}
	return child, ours, nil
}

// socketBuffer is more than a socket of the guest holds with the kernel's defaults, in bytes.
const socketBuffer = 1 << 20

// streamOf takes over the descriptor of a stream socket.
func streamOf(fd int) (*passed, error) {
	other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	w, r := os.NewFile(uintptr(fd), "socket"), os.NewFile(uintptr(other), "socket")
	shut := func(f *os.File, how int) func() error {
		return func() error {
			_ = control(f, func(fd int) error { return unix.Shutdown(fd, how) })
			return f.Close()
		}
	}
	out := newOutput(r, socketBuffer)
	out.shut = shut(r, unix.SHUT_RD)
	return &passed{in: &input{f: w, half: shut(w, unix.SHUT_WR)}, out: out}, nil
}

// makeListener makes a listening socket that the agent can connect to at any time.
func makeListener(family int, nonblock bool, at unix.Sockaddr) (*os.File, *passed, error) {
	kind := unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	if nonblock {
		kind |= unix.SOCK_NONBLOCK
	}
	fd, err := unix.Socket(family, kind, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socket", err)
	}
	child := os.NewFile(uintptr(fd), "listener")
	if err := unix.Bind(fd, at); err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("bind", err), child.Close())
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("listen", err), child.Close())
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("getsockname", err), child.Close())
	}
	network, address := "unix", ""
	switch a := bound.(type) {
	case *unix.SockaddrUnix:
		address = a.Name
	case *unix.SockaddrInet4:
		network, address = "tcp4", (&net.TCPAddr{IP: a.Addr[:], Port: a.Port}).String()
	case *unix.SockaddrInet6:
		network, address = "tcp6", (&net.TCPAddr{IP: a.Addr[:], Port: a.Port}).String()
	}
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	return child, &passed{dial: dial}, nil
}

// openDevice opens a device of the guest that is the same everywhere.
func openDevice(p *agentproto.PassedFile) (*os.File, *passed, error) {
	if !slices.Contains([]string{"null", "zero", "full", "random", "urandom"}, p.GetDevice()) {
		return nil, nil, fmt.Errorf("device %q cannot be passed", p.GetDevice())
	}
	f, err := os.OpenFile("/dev/"+p.GetDevice(), int(p.GetOpenFlags()&unix.O_ACCMODE), 0)
	if err != nil {
		return nil, nil, err
	}
	return f, &passed{}, nil
}

// openFile opens a file of the share where the host's descriptor stands. From then on the two go their own ways.
func openFile(p *agentproto.PassedFile) (*os.File, *passed, error) {
	f, err := os.OpenFile(p.GetPath(), int(p.GetOpenFlags()&(unix.O_ACCMODE|unix.O_APPEND)), 0)
	if err != nil {
		return nil, nil, err
	}
	if _, err := f.Seek(p.GetOffset(), io.SeekStart); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, &passed{}, nil
}

// Connect makes a connection to listening socket number and returns the number that stands for it.
func (f *Files) Connect(ctx context.Context, number uint32) (uint32, error) {
	p, err := f.find(number)
	if err != nil || p.dial == nil {
		return 0, fmt.Errorf("listening socket %d: %w", number, ErrNoStream)
	}
	conn, err := p.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	file, err := conn.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("fcntl", err)
	}
	stream, err := streamOf(fd)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		stream.close()
		return 0, os.ErrProcessDone
	}
	connection := f.next
	f.next++
	f.ours[connection] = stream
	return connection, nil
}

func (f *Files) find(number uint32) (*passed, error) {
	if f == nil {
		return nil, ErrNoStream
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.ours[number]
	if !ok {
		return nil, fmt.Errorf("file descriptor %d: %w", number, ErrNoStream)
	}
	return p, nil
}

// forget drops a connection both of whose directions are over.
func (f *Files) forget(number uint32, p *passed) {
	if p.in != nil && p.out != nil && p.in.isClosed() && p.out.isClosed() {
		f.mu.Lock()
		delete(f.ours, number)
		f.mu.Unlock()
	}
}

// processEnded ends what forwards, as for stdio.
func (f *Files) processEnded() {
	f.each(func(p *passed) {
		if p.in != nil {
			p.in.processEnded()
		}
		if p.out != nil {
			p.out.processEnded()
		}
	})
}

// Close closes the agent's side, except what somebody is using.
func (f *Files) Close() { f.each((*passed).close) }

func (f *Files) each(do func(*passed)) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for _, p := range f.ours {
		do(p)
	}
}

// close closes what nobody is using.
func (p *passed) close() {
	if p.in != nil {
		p.in.closeHalf()
	}
	if p.out != nil {
		p.out.closeUnused()
	}
}
