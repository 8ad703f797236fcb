package executor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// execTimeout bounds the wait for the user's program: a startContainer hook may run as long as it likes, and start
// returns all the same, as runc's does at once.
const execTimeout = 10 * time.Second

// eventBuffer is the socket's buffer for process events, in bytes: those of some ten thousand processes.
const eventBuffer = 1 << 20

// Operations on the connector (linux/cn_proc.h).
const (
	listen = 1 // PROC_CN_MCAST_LISTEN
	ignore = 2 // PROC_CN_MCAST_IGNORE
)

// whenExecuted calls start, which makes process pid execute the user's program, and returns when that has happened or
// the process has ended. Until then the process is libcontainer's: a Go program, which a SIGTERM ends even where the
// kernel would keep it from a process 1 without a handler. The kernel tells through its process events connector,
// Documentation/driver-api/connector.rst, which needs CONFIG_PROC_EVENTS.
func whenExecuted(pid int, start func() error) error {
	// Not netlink.ProcEventMonitor: it opens sockets of families that the kernel may lack, and gives up then.
	events, err := nl.Subscribe(unix.NETLINK_CONNECTOR, netlink.CN_IDX_PROC)
	if err != nil {
		return fmt.Errorf("process events of the guest's kernel: %w", err)
	}
	defer events.Close()
	_ = events.SetReceiveBufferSize(eventBuffer, true) // with less there is a greater chance of the detour over /proc
	if err := tellConnector(events, listen); err != nil {
		return fmt.Errorf("process events of the guest's kernel: %w", err)
	}
	defer func() { _ = tellConnector(events, ignore) }() // the kernel counts its listeners
	if err := start(); err != nil {
		return err
	}
	return awaitExec(events, pid)
}

func tellConnector(s *nl.NetlinkSocket, operation uint32) error {
	var r nl.NetlinkRequest
	r.Type, r.Len = unix.NLMSG_DONE, unix.SizeofNlMsghdr
	r.AddData(nl.NewCnMsg(netlink.CN_IDX_PROC, netlink.CN_VAL_PROC, operation))
	return s.Send(&r)
}

// awaitExec reads events until pid has executed a program or ended, or the time is up.
func awaitExec(s *nl.NetlinkSocket, pid int) error {
	for deadline := time.Now().Add(execTimeout); ; {
		left := time.Until(deadline)
		if left <= 0 {
			return nil
		}
		timeout := unix.NsecToTimeval(left.Nanoseconds())
		if err := s.SetReceiveTimeout(&timeout); err != nil {
			return err
		}
		messages, _, err := s.Receive()
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.ENOBUFS): // events were lost
			if executed(pid) {
				return nil
			}
		case err != nil:
			return fmt.Errorf("process events of the guest's kernel: %w", err)
		}
		for _, m := range messages {
			if isExec(m.Data, uint32(pid)) {
				return nil
			}
		}
	}
}

// isExec tells whether a connector's message says that the main thread of process pid has executed a program or ended.
// libcontainer's init executes from its main thread: that one's end is not part of another thread's exec.
func isExec(data []byte, pid uint32) bool {
	const (
		what = 20        // after struct cn_msg: struct proc_event
		tid  = what + 16 // of exec_proc_event and exit_proc_event alike
	)
	if len(data) < tid+4 {
		return false
	}
	switch binary.NativeEndian.Uint32(data[what:]) {
	case netlink.PROC_EVENT_EXEC, netlink.PROC_EVENT_EXIT:
		return binary.NativeEndian.Uint32(data[tid:]) == pid
	default:
		return false
	}
}

// executed tells whether process pid is another program than this one, or gone.
func executed(pid int) bool {
	its, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return true
	}
	ours, err := os.Stat("/proc/self/exe")
	return err != nil || !os.SameFile(its, ours)
}
