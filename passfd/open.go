package passfd

import (
	"errors"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
)

// Open turns descriptor f of the host into what the client forwards as descriptor number of the guest's process. It
// takes f over. The second result is false for what nothing flows through.
func Open(f *os.File, kind agentproto.PassedFile_Kind, number int) (agentclient.File, bool) {
	out := agentclient.File{Number: uint32(number)}
	switch kind {
	case agentproto.PassedFile_PIPE_READER:
		out.In = f
	case agentproto.PassedFile_PIPE_WRITER:
		out.Out = f
	case agentproto.PassedFile_STREAM:
		out.In, out.Out = half{f, unix.SHUT_RD}, half{f, unix.SHUT_WR}
	case agentproto.PassedFile_LISTENER_UNIX, agentproto.PassedFile_LISTENER_IPV4, agentproto.PassedFile_LISTENER_IPV6:
		out.Accept = func() (io.ReadCloser, io.WriteCloser, error) { return accept(f) }
	default:
		_ = f.Close()
		return agentclient.File{}, false
	}
	return out, true
}

// half is one direction of a socket that the caller may hold, too: it is read and written as it is, since making it
// non-blocking would do that to the caller's copies.
type half struct {
	*os.File
	how int
}

// Close ends the direction.
func (h half) Close() error {
	return os.NewSyscallError("shutdown", unix.Shutdown(int(h.File.Fd()), h.how))
}

// accept waits for a connection, on a socket that blocks or does not.
func accept(f *os.File) (io.ReadCloser, io.WriteCloser, error) {
	fd := int(f.Fd())
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return nil, nil, os.NewSyscallError("poll", err)
		}
		if fds[0].Revents == 0 {
			continue
		}
		accepted, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil:
			return nil, nil, os.NewSyscallError("accept", err)
		}
		return connection(accepted)
	}
}

func connection(fd int) (io.ReadCloser, io.WriteCloser, error) {
	file := os.NewFile(uintptr(fd), "connection")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, nil, err
	}
	c := &counted{Conn: conn, open: 2}
	return connHalf{c, (*counted).closeRead}, connHalf{c, (*counted).closeWrite}, nil
}
