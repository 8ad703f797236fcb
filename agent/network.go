package agent

import (
	"context"

	"github.com/runvm/runvm/agent/network"
	"github.com/runvm/runvm/agentproto"
)

// ConfigureNetwork implements the call.
func (s *Server) ConfigureNetwork(
	ctx context.Context, r *agentproto.ConfigureNetworkRequest,
) (*agentproto.ConfigureNetworkResponse, error) {
	if err := network.Configure(ctx, r); err != nil {
		return nil, toStatus(err)
	}
	return &agentproto.ConfigureNetworkResponse{}, nil
}

// RemoveInterface implements the call.
func (s *Server) RemoveInterface(
	_ context.Context, r *agentproto.RemoveInterfaceRequest,
) (*agentproto.RemoveInterfaceResponse, error) {
	if err := network.Remove(r.GetName()); err != nil {
		return nil, toStatus(err)
	}
	return &agentproto.RemoveInterfaceResponse{}, nil
}
