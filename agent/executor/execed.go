package executor

import (
	"time"

	"github.com/vishvananda/netlink"
)

// execTimeout bounds the wait for the user's program. Nothing but a lost event makes it last that long.
const execTimeout = 5 * time.Second

// whenExecuted calls start, which makes process pid execute the user's program, and returns when that has happened or
// the process has ended. Until then the process is libcontainer's: a Go program, which a SIGTERM ends even where the
// kernel would keep it from a process 1 without a handler. The kernel tells through its process events connector,
// Documentation/driver-api/connector.rst; without that there is no wait.
func whenExecuted(pid int, start func() error) error {
	events, done, failed := make(chan netlink.ProcEvent, 64), make(chan struct{}), make(chan error, 1)
	watching := netlink.ProcEventMonitor(events, done, failed) == nil
	err := start()
	if !watching {
		return err
	}
	if err == nil {
		awaitExec(events, uint32(pid))
	}
	close(done)
	// The monitor sends until its socket is closed.
	go func() {
		for range events {
		}
	}()
	return err
}

func awaitExec(events <-chan netlink.ProcEvent, pid uint32) {
	timeout := time.NewTimer(execTimeout)
	defer timeout.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			switch m := e.Msg.(type) {
			case *netlink.ExecProcEvent, *netlink.ExitProcEvent:
				if m.Pid() == pid {
					return
				}
			}
		case <-timeout.C:
			return
		}
	}
}
