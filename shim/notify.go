package shim

import (
	"context"
	"net"
	"time"

	"github.com/runvm/runvm/sdnotify"
)

// dialNotify connects to the host's notify socket, if there is one.
func dialNotify(socket string) (*net.UnixConn, error) {
	if socket == "" {
		return nil, nil
	}
	return sdnotify.Dial(socket)
}

// relayNotifications returns when every datagram that the container sends to its notify socket from now on goes to the
// host's, which an engine listens on.
func (s *session) relayNotifications(host *net.UnixConn) error {
	s.notified = make(chan struct{})
	started, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(s.notified)
		defer host.Close()
		failed <- s.agent.Notifications(context.Background(), s.config.ContainerID,
			func() { close(started) },
			func(datagram []byte) error {
				_, _ = host.Write(datagram) // an engine that has gone misses it, as it would with runc
				return nil
			})
	}()
	select {
	case <-started:
		return nil
	case err := <-failed:
		return err
	}
}

// notifyTimeout bounds the wait for the last notifications: the guest may be hostile, the host's reader slow.
const notifyTimeout = 5 * time.Second

// finishNotifications waits for the notifications that were under way when the container ended.
func (s *session) finishNotifications() {
	if s.notified == nil {
		return
	}
	select {
	case <-s.notified:
	case <-time.After(notifyTimeout):
	}
}
