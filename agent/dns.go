package agent

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/runvm/runvm/agent/dnsrelay"
	"github.com/runvm/runvm/agentproto"
)

type dnsStream = grpc.BidiStreamingServer[agentproto.DNSAnswer, agentproto.DNSQuery]

// RelayDNS implements the call.
func (s *Server) RelayDNS(stream dnsStream) error {
	if !s.relaysDNS.CompareAndSwap(false, true) {
		return status.Error(codes.FailedPrecondition, "DNS queries are relayed already")
	}
	defer s.relaysDNS.Store(false)
	relay, err := dnsrelay.Listen()
	if err != nil {
		return toStatus(err)
	}
	calls := &dnsCalls{stream: stream, waiting: map[uint64]chan []byte{}}
	served := make(chan struct{})
	go func() {
		defer close(served)
		relay.Serve(stream.Context(), calls.exchange)
	}()
	ended := calls.run()
	err = relay.Close()
	<-served
	if err != nil {
		return toStatus(err)
	}
	return ended
}

// dnsCalls has the queries of a RelayDNS call that wait for their answers.
type dnsCalls struct {
	stream dnsStream

	sending sync.Mutex // held while a message is sent

	mu      sync.Mutex
	last    uint64 // id
	waiting map[uint64]chan []byte
}

// run hands out answers until the host ends the call, and returns how.
func (d *dnsCalls) run() error {
	if err := d.send(&agentproto.DNSQuery{}); err != nil {
		return err
	}
	for {
		answer, err := d.stream.Recv()
		if err != nil {
			return err
		}
		d.mu.Lock()
		if waiter, ok := d.waiting[answer.GetId()]; ok {
			delete(d.waiting, answer.GetId())
			waiter <- answer.GetMessage() // has room
		}
		d.mu.Unlock()
	}
}

func (d *dnsCalls) send(q *agentproto.DNSQuery) error {
	d.sending.Lock()
	defer d.sending.Unlock()
	return d.stream.Send(q)
}

// exchange asks the host.
func (d *dnsCalls) exchange(ctx context.Context, q dnsrelay.Query) ([]byte, error) {
	waiter := make(chan []byte, 1)
	d.mu.Lock()
	d.last++
	id := d.last
	d.waiting[id] = waiter
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.waiting, id)
		d.mu.Unlock()
	}()
	if err := d.send(&agentproto.DNSQuery{Id: id, Tcp: q.TCP, Message: q.Message}); err != nil {
		return nil, err
	}
	select {
	case answer := <-waiter:
		return answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
