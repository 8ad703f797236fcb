package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/runvm/runvm/agentclient"
	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/netns"
)

// engineDNS is where Docker's DNS server answers inside a container's network namespace. It is the only address that is
// ever asked for the guest.
var engineDNS = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 11}), 53)

const (
	// maxDNSMessage is the most that a DNS message can have, in bytes.
	maxDNSMessage = 65535
	// maxDNSQueries bounds the guest's queries under way; more wait in the guest.
	maxDNSQueries = 64
	// dnsTimeout is more than Docker's server takes to ask the servers behind it.
	dnsTimeout = 10 * time.Second
)

// relayDNS starts to answer the guest's DNS queries if the engine has a DNS server in the namespace and nobody does so
// yet. It returns when the guest can ask.
func (s *Sandbox) relayDNS(ctx context.Context) error {
	if s.relaysDNS {
		return nil
	}
	present, err := netns.UDPSocketAt(engineDNS.Addr())
	if err != nil {
		return fmt.Errorf("look for the engine's DNS server: %w", err)
	}
	if !present {
		return nil
	}
	life, cancel := context.WithCancel(s.life)
	stopWaiting := context.AfterFunc(ctx, cancel)
	stream, err := s.agent.Agent().RelayDNS(life)
	if err == nil {
		_, err = stream.Recv() // says that the agent listens
	}
	if !stopWaiting() || err != nil {
		cancel()
		return s.explain(fmt.Errorf("relay the engine's DNS server: %w", agentclient.FromStatus(err)))
	}
	s.relaysDNS = true
	r := &dnsRelay{stream: stream, dial: dialEngineDNS}
	go func() {
		defer cancel()
		if err := r.run(life); err != nil && life.Err() == nil {
			s.log("the guest has no DNS server any more: %v", agentclient.FromStatus(err))
		}
	}()
	return nil
}

func dialEngineDNS(ctx context.Context, network string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, engineDNS.String())
}

// dnsStream is the RelayDNS call.
type dnsStream interface {
	Send(*agentproto.DNSAnswer) error
	Recv() (*agentproto.DNSQuery, error)
}

// dnsRelay answers the guest's queries. The guest chooses nothing but their bytes.
type dnsRelay struct {
	stream dnsStream
	dial   func(ctx context.Context, network string) (net.Conn, error)

	sending sync.Mutex
}

// run answers until the stream ends, or the guest breaks the protocol. It returns when no query is under way.
func (r *dnsRelay) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	slots := make(chan struct{}, maxDNSQueries)
	for {
		slots <- struct{}{}
		query, err := r.stream.Recv()
		if err != nil {
			return err
		}
		if n := len(query.GetMessage()); n == 0 || n > maxDNSMessage {
			return fmt.Errorf("the guest sent a DNS query of %d bytes, want 1 to %d", n, maxDNSMessage)
		}
		wg.Go(func() {
			defer func() { <-slots }()
			r.answer(ctx, query)
		})
	}
}

// answer asks the engine's server. Without an answer from there the guest gets an empty one.
func (r *dnsRelay) answer(ctx context.Context, q *agentproto.DNSQuery) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	message, err := r.exchange(ctx, q)
	if err != nil {
		message = nil
	}
	r.sending.Lock()
	defer r.sending.Unlock()
	_ = r.stream.Send(&agentproto.DNSAnswer{Id: q.GetId(), Message: message}) // run sees its failure
}

func (r *dnsRelay) exchange(ctx context.Context, q *agentproto.DNSQuery) ([]byte, error) {
	network := "udp4"
	if q.GetTcp() {
		network = "tcp4"
	}
	conn, err := r.dial(ctx, network)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if q.GetTcp() {
		return exchangeTCP(conn, q.GetMessage())
	}
	if _, err := conn.Write(q.GetMessage()); err != nil {
		return nil, err
	}
	answer := make([]byte, maxDNSMessage)
	n, err := conn.Read(answer)
	return answer[:n], err
}

// exchangeTCP puts a message's length before it, as RFC 1035 section 4.2.2 has it.
func exchangeTCP(conn net.Conn, query []byte) ([]byte, error) {
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	if _, err := conn.Write(framed); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, errors.Join(errors.New("the engine's DNS server broke off"), err)
	}
	return answer, nil
}
