// Package sdnotify talks to the host's notify socket, systemd's as a rule, on behalf of a container (sd_notify(3)).
package sdnotify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/internal/unixsock"
)

// Variable is where a service manager names its socket.
const Variable = "NOTIFY_SOCKET"

// Dial connects to a notify socket: an absolute path, or an abstract name after "@".
func Dial(socket string) (*net.UnixConn, error) {
	if strings.HasPrefix(socket, "@") {
		return dial(socket)
	}
	var conn *net.UnixConn
	err := unixsock.WithAddress(filepath.Dir(socket), filepath.Base(socket), func(address string) (err error) {
		conn, err = dial(address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("notify socket %s: %w", socket, err)
	}
	return conn, nil
}

func dial(address string) (*net.UnixConn, error) {
	return net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: address})
}

// Ready returns the line of a container's datagram that says it is ready, as runc does, or nil.
func Ready(datagram []byte) []byte {
	for line := range bytes.SplitSeq(datagram, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("READY=")) {
			return line
		}
	}
	return nil
}

// barrierTimeout is how long SendReady waits for a service manager that may know no barriers.
const barrierTimeout = 30 * time.Second

// SendReady passes on the container's word that it is ready and names the process to watch from now on. It returns when
// the service manager has read that, so that the sender may end (sd_notify_barrier(3)).
func SendReady(conn *net.UnixConn, line []byte, mainPID int) error {
	for _, message := range []string{string(line) + "\n", "MAINPID=" + strconv.Itoa(mainPID) + "\n"} {
		if _, err := conn.Write([]byte(message)); err != nil {
			return fmt.Errorf("tell the service manager: %w", err)
		}
	}
	return barrier(conn)
}

// sendWithFile does what WriteMsgUnix refuses on a connected datagram socket.
func sendWithFile(conn *net.UnixConn, message string, f *os.File) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	rights := unix.UnixRights(int(f.Fd()))
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), []byte(message), rights, nil, 0)
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	return errors.Join(err, sendErr)
}

func barrier(conn *net.UnixConn) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	err = sendWithFile(conn, "BARRIER=1", w)
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	if err := r.SetReadDeadline(time.Now().Add(barrierTimeout)); err != nil {
		return err
	}
	_, err = r.Read(make([]byte, 1))
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}
