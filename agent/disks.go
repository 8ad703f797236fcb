package agent

import (
	"context"

	"github.com/runvm/runvm/agent/disks"
	"github.com/runvm/runvm/agent/executor"
	"github.com/runvm/runvm/agentproto"
)

// findDisks waits for the block devices of a request and makes their nodes.
func findDisks(ctx context.Context, r *agentproto.CreateContainerRequest) ([]executor.Disk, error) {
	var found []executor.Disk
	for _, b := range r.GetBlockDevices() {
		n, err := disks.Find(ctx, b.GetSerial())
		if err != nil {
			return nil, err
		}
		node := disks.Node{Number: n, Mode: b.GetMode(), UID: int(b.GetUid()), GID: int(b.GetGid())}
		path, err := disks.MakeNode(r.GetContainerId(), b.GetSerial(), node)
		if err != nil {
			return nil, err
		}
		found = append(found, executor.Disk{
			HostMajor: b.GetMajor(), HostMinor: b.GetMinor(), HostPath: b.GetPath(),
			Major: int64(n.Major), Minor: int64(n.Minor), Path: path,
		})
	}
	return found, nil
}
