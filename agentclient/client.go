// Package agentclient is the host's side of the protocol in agentproto: it connects to a guest's agent, checks that
// both speak the same protocol, turns gRPC statuses into sentinel errors and forwards the stdio of guest processes.
//
// The agent runs in a guest that may be hostile: message sizes and texts are bounded, and nothing in an answer is
// trusted beyond its type.
package agentclient

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/runvm/runvm/agentproto"
)

const (
	// maxMessage bounds one gRPC message in either direction, in bytes.
	maxMessage = 4 << 20
	// window is the gRPC flow-control window of a stream, in bytes: what may be under way to a slow reader.
	window = 1 << 20
)

// Dialer opens one connection to the agent. gRPC calls it again if the connection was lost before the first answer.
type Dialer func(ctx context.Context) (net.Conn, error)

// Client is a connection to an agent. Its methods may be called from several goroutines.
type Client struct {
	conn  *grpc.ClientConn
	agent agentproto.AgentClient
	hello *agentproto.Hello
}

// Dial connects to an agent and checks its protocol. The caller closes the client. ErrProtocol: the agent speaks
// another one, the guest image has to be rebuilt.
func Dial(ctx context.Context, dial Dialer) (*Client, error) {
	conn, err := grpc.NewClient("passthrough:///agent",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithStaticConnWindowSize(2*window),
		grpc.WithMaxHeaderListSize(64<<10),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to the agent: %w", err)
	}
	c := &Client{conn: conn, agent: agentproto.NewAgentClient(conn)}
	if err := c.greet(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// greet fetches the agent's Hello and checks it.
func (c *Client) greet(ctx context.Context) error {
	hello, err := c.agent.GetHello(ctx, &agentproto.GetHelloRequest{})
	if err != nil {
		return fmt.Errorf("greet the agent: %w", FromStatus(err))
	}
	if hello.GetProtocol() != agentproto.Protocol {
		return fmt.Errorf("%w: the guest's agent (%s) speaks protocol %d, this runvm %d: rebuild the guest image",
			ErrProtocol, clean(hello.GetVersion()), hello.GetProtocol(), agentproto.Protocol)
	}
	c.hello = hello
	return nil
}

// Close closes the connection. Calls under way end with ErrUnavailable or ErrCanceled.
func (c *Client) Close() error { return c.conn.Close() }

// Agent is the generated client. Its errors are gRPC statuses: pass them through FromStatus.
func (c *Client) Agent() agentproto.AgentClient { return c.agent }

// Hello is what the agent said about itself. Its strings are the guest's: not for terminals before cleaning.
func (c *Client) Hello() *agentproto.Hello { return c.hello }

// Connected tells whether the connection is up. It is for logs and status pages: a call is the only real test.
func (c *Client) Connected() bool { return c.conn.GetState() == connectivity.Ready }
