package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
)

// removeTimeout bounds what the guest may take to remove a container.
const removeTimeout = 10 * time.Second

// Share shows the guest a mount that CloneMount made, below a directory of a container's own. It takes nothing of the
// file but the mount; the caller closes it. Unshare also takes back what failed.
func (s *Sandbox) Share(dir string, m Mount, detached *os.File) error {
	return s.tree.add(dir, m, int(detached.Fd()))
}

// Unshare takes back all mounts of a container's directory. The guest's kernel may pin them until it forgets the files.
func (s *Sandbox) Unshare(dir string) error { return s.tree.remove(dir) }

// RemoveContainer ends what is left of a container in the guest, which then lets go of its mounts. One that is not there
// is no error.
func (s *Sandbox) RemoveContainer(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	_, err := s.agent.Agent().DeleteContainer(ctx, &agentproto.DeleteContainerRequest{ContainerId: id})
	if err = agentclient.FromStatus(err); err != nil && !errors.Is(err, agentclient.ErrNotFound) {
		return fmt.Errorf("remove container %s in the guest: %w", id, err)
	}
	return nil
}
