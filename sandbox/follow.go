package sandbox

import (
	"context"
	"fmt"
	"time"

	"github.com/runvm/runvm/netns"
)

// followTimeout bounds one round of following: the guest may be hostile, and must let go of devices.
const followTimeout = time.Minute

// follower makes the guest follow its network namespace. The zero value is none.
type follower struct {
	start  chan struct{} // closed when the guest is ready
	cancel context.CancelFunc
	done   chan struct{} // closed when nothing follows any more
}

// watchNetwork notes changes of the namespace from now on: before it is first read, so that none is missed. The guest
// follows once start is closed.
func (s *Sandbox) watchNetwork() error {
	ctx, cancel := context.WithCancel(context.Background())
	changes, err := netns.Watch(ctx, s.config.NetNS)
	if err != nil {
		cancel()
		return fmt.Errorf("follow the network namespace: %w", err)
	}
	s.follower = follower{start: make(chan struct{}), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.follower.done)
		select {
		case <-s.follower.start:
			s.follow(ctx, changes)
		case <-ctx.Done():
		}
	}()
	return nil
}

// follow ends with the context. Changes that come while a round is under way make one more round.
func (s *Sandbox) follow(ctx context.Context, changes <-chan struct{}) {
	for range changes {
		round, cancel := context.WithTimeout(ctx, followTimeout)
		err := s.UpdateNetwork(round)
		cancel()
		// Engines take several steps, and what is half done may not work yet: the next round will tell.
		if err != nil && len(changes) == 0 && ctx.Err() == nil {
			s.log("the guest does not follow its network: %v", err)
		}
	}
}

// stopFollowing returns when nothing follows any more. Idempotent.
func (s *Sandbox) stopFollowing() error {
	if s.follower.cancel != nil {
		s.follower.cancel()
		<-s.follower.done
	}
	return nil
}
