package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runvm/runvm/agentproto"
)

// guestStream is a guest's end of a RelayDNS call.
type guestStream struct {
	queries chan *agentproto.DNSQuery
	answers chan *agentproto.DNSAnswer
}

func (g *guestStream) Recv() (*agentproto.DNSQuery, error) {
	if q, ok := <-g.queries; ok {
		return q, nil
	}
	return nil, io.EOF
}

func (g *guestStream) Send(a *agentproto.DNSAnswer) error {
	g.answers <- a
	return nil
}

// startRelay runs a relay towards the DNS server that dial connects to. The function that it returns waits for its end.
func startRelay(t *testing.T, dial func(context.Context, string) (net.Conn, error)) (*guestStream, func() error) {
	t.Helper()
	g := &guestStream{queries: make(chan *agentproto.DNSQuery), answers: make(chan *agentproto.DNSAnswer, 1000)}
	ended := make(chan error, 1)
	go func() { ended <- (&dnsRelay{stream: g, dial: dial}).run(t.Context()) }()
	return g, func() error { return <-ended }
}

// server is a DNS server over net.Pipe that answers with the network's name and the query.
func server(_ context.Context, network string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		buf := make([]byte, 100)
		n, err := far.Read(buf)
		if err != nil {
			return
		}
		answer := append([]byte(network+" "), buf[:n]...)
		if network == "tcp4" {
			answer = append([]byte(network+" "), buf[2:n]...)
			answer = append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)
		}
		_, _ = far.Write(answer)
	}()
	return near, nil
}

func TestDNSRelay(t *testing.T) {
	g, wait := startRelay(t, server)
	got := map[uint64]string{}
	for id, tcp := range map[uint64]bool{1: false, 2: true, 3: false} {
		g.queries <- &agentproto.DNSQuery{Id: id, Tcp: tcp, Message: []byte{byte('0' + id)}}
		a := <-g.answers
		got[a.GetId()] = string(a.GetMessage())
	}
	if diff := cmp.Diff(map[uint64]string{1: "udp4 1", 2: "tcp4 2", 3: "udp4 3"}, got); diff != "" {
		t.Error(diff)
	}
	close(g.queries)
	if err := wait(); !errors.Is(err, io.EOF) {
		t.Errorf("ended with %v", err)
	}
}

// TestDNSRelayWithoutServer: the guest learns that there is no answer, and goes on asking.
func TestDNSRelayWithoutServer(t *testing.T) {
	broken := func(_ context.Context, network string) (net.Conn, error) {
		if network == "udp4" {
			return nil, errors.New("refused")
		}
		near, far := net.Pipe()
		go func() {
			_, _ = far.Read(make([]byte, 100))
			_, _ = far.Write([]byte{0xff, 0xff, 1}) // more than it sends
			_ = far.Close()
		}()
		return near, nil
	}
	g, wait := startRelay(t, broken)
	for _, tcp := range []bool{false, true} {
		g.queries <- &agentproto.DNSQuery{Id: 7, Tcp: tcp, Message: []byte("q")}
		if a := <-g.answers; a.GetId() != 7 || len(a.GetMessage()) != 0 {
			t.Errorf("tcp %v: answer %v", tcp, a)
		}
	}
	close(g.queries)
	_ = wait()
}

// TestDNSRelayHostile: a guest that breaks the protocol loses the relay; one that asks too much at once waits.
func TestDNSRelayHostile(t *testing.T) {
	for _, message := range [][]byte{nil, make([]byte, maxDNSMessage+1)} {
		g, wait := startRelay(t, server)
		g.queries <- &agentproto.DNSQuery{Id: 1, Message: message}
		if err := wait(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%d bytes: %v", len(message), err)
		}
	}

	var dialled atomic.Int32
	block := func(ctx context.Context, _ string) (net.Conn, error) {
		dialled.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	g, wait := startRelay(t, block)
	for range maxDNSQueries {
		g.queries <- &agentproto.DNSQuery{Id: 1, Message: []byte("q")}
	}
	select {
	case g.queries <- &agentproto.DNSQuery{Id: 1, Message: []byte("q")}:
		t.Errorf("query %d was taken while none was answered", maxDNSQueries+1)
	case <-time.After(100 * time.Millisecond):
	}
	close(g.queries)
	go func() { _ = wait() }()
	if n := dialled.Load(); n > maxDNSQueries {
		t.Errorf("%d dials at once", n)
	}
}
