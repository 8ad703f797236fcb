package agentclient

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/runvm/runvm/agentproto"
)

// Notifications calls started when nothing that the container sends to its notify socket can be missed any more, and
// then receive with each datagram, until the container has ended, ctx ends or receive fails with io.EOF, which is no
// error. The bytes are the guest's.
func (c *Client) Notifications(ctx context.Context, id string, started func(), receive func([]byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.agent.ReadNotifications(ctx, &agentproto.ReadNotificationsRequest{ContainerId: id})
	if err != nil {
		return fmt.Errorf("read the container's notifications: %w", FromStatus(err))
	}
	if _, err := stream.Header(); err != nil {
		return fmt.Errorf("read the container's notifications: %w", FromStatus(err))
	}
	started()
	for {
		n, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the container's notifications: %w", FromStatus(err))
		}
		if len(n.GetData()) > agentproto.MaxDatagram {
			return fmt.Errorf("read the container's notifications: a datagram of %d bytes, at most %d are allowed: %w",
				len(n.GetData()), agentproto.MaxDatagram, ErrInternal)
		}
		if err := receive(n.GetData()); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}
