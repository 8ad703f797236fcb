package dnsrelay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf/asm"
)

// serve starts a relay, without the guest's programs, and returns its address.
func serve(t *testing.T, exchange Exchange) string {
	t.Helper()
	r, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		r.Serve(t.Context(), exchange)
	}()
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
	return netip.AddrPortFrom(Address, r.port()).String()
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// echo answers a query with its protocol and text.
func echo(_ context.Context, q Query) ([]byte, error) {
	if string(q.Message) == "fail" {
		return nil, errors.New("no answer")
	}
	if q.TCP {
		return append([]byte("tcp "), q.Message...), nil
	}
	return append([]byte("udp "), q.Message...), nil
}

func TestUDP(t *testing.T) {
	c := dial(t, "udp4", serve(t, echo))
	buf := make([]byte, 100)
	// What has no answer is not answered, and does not hold up the next.
	for _, query := range []string{"fail", "one", "fail", "two"} {
		if _, err := c.Write([]byte(query)); err != nil {
			t.Fatal(err)
		}
		if query == "fail" {
			continue
		}
		n, err := c.Read(buf)
		if err != nil || string(buf[:n]) != "udp "+query {
			t.Errorf("%q, %v", buf[:n], err)
		}
	}
}

func TestTCP(t *testing.T) {
	address := serve(t, echo)
	c := dial(t, "tcp4", address)
	for _, query := range []string{"one", "two", string(bytes.Repeat([]byte("x"), maxMessage-4))} {
		if err := writeMessage(c, []byte(query)); err != nil {
			t.Fatal(err)
		}
		answer, err := readMessage(c)
		if err != nil || string(answer) != "tcp "+query {
			t.Errorf("%d bytes, %v", len(answer), err)
		}
	}
	if err := writeMessage(c, []byte("fail")); err != nil {
		t.Fatal(err)
	}
	if _, err := readMessage(c); !errors.Is(err, io.EOF) {
		t.Errorf("without an answer: %v, want the connection's end", err)
	}
}

// TestBounds: however many processes ask, only so many queries and connections are under way.
func TestBounds(t *testing.T) {
	var now, most atomic.Int32
	release := make(chan struct{})
	exchange := func(ctx context.Context, q Query) ([]byte, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return q.Message, nil
	}
	address := serve(t, exchange)
	udp := dial(t, "udp4", address)
	for range 3 * maxQueries {
		if _, err := udp.Write([]byte("q")); err != nil {
			t.Fatal(err)
		}
	}
	var conns []net.Conn
	for range maxConns {
		conns = append(conns, dial(t, "tcp4", address))
	}
	surplus := dial(t, "tcp4", address)
	if _, err := surplus.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("connection %d: %v, want its end", maxConns+1, err)
	}
	close(release)
	for _, c := range conns {
		if err := writeMessage(c, []byte("q")); err != nil {
			t.Fatal(err)
		}
		if _, err := readMessage(c); err != nil {
			t.Errorf("a query on one of %d connections: %v", maxConns, err)
		}
	}
	if most.Load() > maxQueries {
		t.Errorf("%d queries were under way, want at most %d", most.Load(), maxQueries)
	}
}

// TestPrograms: what the kernel's verifier gets is whole, and each place is rewritten once.
func TestPrograms(t *testing.T) {
	seen := map[uint32]bool{}
	for _, r := range rewrites(Port, 40000) {
		code, err := r.code(Address)
		if err != nil {
			t.Fatal(err)
		}
		var p asm.Instructions
		if err := p.Unmarshal(bytes.NewReader(code), order); err != nil {
			t.Fatal(err)
		}
		if last := p[len(p)-1]; last.OpCode != asm.Return().OpCode {
			t.Errorf("type %d ends with %v", r.attach, last)
		}
		if seen[r.attach] {
			t.Errorf("type %d twice", r.attach)
		}
		seen[r.attach] = true
	}
	if got := networkPort(Port); got != 0x3500 {
		t.Errorf("port 53 is %#x to the guest, want 0x3500", got)
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte{0, 2, 'a', 'b', 'c'})
	f.Add([]byte{0xff, 0xff})
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, data []byte) {
		message, err := readMessage(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeMessage(&again, message); err != nil || !bytes.HasPrefix(data, again.Bytes()) {
			t.Errorf("%q is written as %q, %v", data, again.Bytes(), err)
		}
	})
}
