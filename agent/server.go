// Package agent is the service that runs in the guest and does what the host asks for: package agentproto has the
// contract of each call. It keeps the containers and their processes; package executor makes them.
package agent

import (
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/runvm/runvm/agent/executor"
	"github.com/runvm/runvm/agent/sharing"
	"github.com/runvm/runvm/agentproto"
)

const (
	maxMessage = 4 << 20 // bytes of one gRPC message
	window     = 1 << 20 // bytes under way on one stream
)

// Options is what a Server needs.
type Options struct {
	Executor *executor.Executor
	Version  string
	// PowerOff ends the VM.
	PowerOff func() error
}

// Server implements the agent's calls.
type Server struct {
	agentproto.UnimplementedAgentServer
	options    Options
	grpc       *grpc.Server
	containers registry
	namespaces sharing.Namespaces
	memory     sharing.Memory

	mu         sync.Mutex
	configured bool
	shared     bool // the share is mounted

	relaysDNS atomic.Bool
}

// New returns a server.
func New(o Options) *Server {
	s := &Server{options: o, memory: sharing.Memory{Dir: agentproto.SharedMemoryDir}}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(2*window),
		// The host may be paused for days: silence is no reason to hang up.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: math.MaxInt64}),
		grpc.ConnectionTimeout(10*time.Minute),
		grpc.StatsHandler(connEnds{}),
	)
	agentproto.RegisterAgentServer(s.grpc, s)
	return s
}

// Serve answers the calls that arrive through l until l ends. It may be called again, and with several listeners.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }
