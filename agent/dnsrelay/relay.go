// Package dnsrelay takes the DNS queries that the guest's processes send to the engine's DNS server, 127.0.0.11 port 53,
// and has somebody else answer them: that server (Docker's, for names on networks that users made) listens inside the
// container's network namespace on the host, where the guest's loopback does not lead.
//
// The relay listens on another port of that address, and BPF programs at the guest's top cgroup turn port 53 into that
// port and back: port 53 stays free for a DNS server in the container, as it is with the rules that Docker makes.
package dnsrelay

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

	"golang.org/x/sys/unix"
)

// Address is where the guest's processes ask, and Port the port.
var Address = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// Port is DNS's.
const Port = 53

const (
	// maxMessage is the most that TCP's length prefix can say, in bytes.
	maxMessage = 65535
	// maxQueries bounds the queries under way; maxConns the TCP connections.
	maxQueries = 64
	maxConns   = 64
	// answerTimeout is longer than the resolver of any C library waits.
	answerTimeout = 15 * time.Second
	// idleTimeout ends a TCP connection on which nobody asks, RFC 7766 section 6.2.3.
	idleTimeout = 30 * time.Second
)

// Query is one question as it came from the guest's process.
type Query struct {
	TCP     bool
	Message []byte // without TCP's length prefix
}

// Exchange gets a query answered. An empty answer or an error: there is none. It is called from several goroutines.
type Exchange func(ctx context.Context, q Query) ([]byte, error)

// Relay listens until it is closed.
type Relay struct {
	udp      *net.UDPConn
	tcp      *net.TCPListener
	redirect io.Closer
	queries  chan struct{} // holds a token for each query under way
	conns    chan struct{} // holds a token for each connection
}

// Listen starts to take queries; Serve answers them. The caller closes the relay.
func Listen() (*Relay, error) {
	r, err := listen()
	if err != nil {
		return nil, fmt.Errorf("relay DNS queries to %v: %w", Address, err)
	}
	if r.redirect, err = redirect(Address, Port, r.port()); err != nil {
		return nil, errors.Join(fmt.Errorf("relay DNS queries to %v: %w", Address, err), r.Close())
	}
	return r, nil
}

// listen takes a port that is free for both protocols.
func listen() (*Relay, error) {
	var lastErr error
	for range 16 {
		udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(Address, 0)))
		if err != nil {
			return nil, err
		}
		port := udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		tcp, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(Address, port)))
		if err == nil {
			return &Relay{
				udp: udp, tcp: tcp, queries: make(chan struct{}, maxQueries), conns: make(chan struct{}, maxConns),
			}, nil
		}
		_ = udp.Close()
		if lastErr = err; !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return nil, lastErr
}

func (r *Relay) port() uint16 { return r.udp.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// Close stops the relay and makes Serve return.
func (r *Relay) Close() error {
	err := errors.Join(r.udp.Close(), r.tcp.Close())
	if r.redirect != nil {
		err = errors.Join(err, r.redirect.Close())
	}
	return err
}

// Serve answers queries until the relay is closed. It returns when none is under way.
func (r *Relay) Serve(ctx context.Context, exchange Exchange) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.serveUDP(ctx, exchange, &wg) })
	r.serveTCP(ctx, exchange, &wg)
	cancel()
	wg.Wait()
}

// serveUDP drops what comes while too many queries are under way: whoever asks over UDP asks again.
func (r *Relay) serveUDP(ctx context.Context, exchange Exchange, wg *sync.WaitGroup) {
	buf := make([]byte, maxMessage)
	for {
		n, from, err := r.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		select {
		case r.queries <- struct{}{}:
		default:
			continue
		}
		q := Query{Message: append([]byte(nil), buf[:n]...)}
		wg.Go(func() {
			defer func() { <-r.queries }()
			if answer := ask(ctx, exchange, q); len(answer) > 0 {
				_, _ = r.udp.WriteToUDPAddrPort(answer, from)
			}
		})
	}
}

func ask(ctx context.Context, exchange Exchange, q Query) []byte {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := exchange(ctx, q)
	if err != nil || len(answer) > maxMessage {
		return nil
	}
	return answer
}

func (r *Relay) serveTCP(ctx context.Context, exchange Exchange, wg *sync.WaitGroup) {
	for {
		conn, err := r.tcp.Accept()
		if err != nil {
			return
		}
		select {
		case r.conns <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-r.conns }()
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			r.serveConn(ctx, exchange, conn)
		})
	}
}

// serveConn answers the queries of one connection in their order until there is no answer.
func (r *Relay) serveConn(ctx context.Context, exchange Exchange, conn net.Conn) {
	for {
		_ = conn.SetDeadline(time.Now().Add(idleTimeout))
		message, err := readMessage(conn)
		if err != nil {
			return
		}
		select {
		case r.queries <- struct{}{}:
		case <-ctx.Done():
			return
		}
		answer := ask(ctx, exchange, Query{TCP: true, Message: message})
		<-r.queries
		if len(answer) == 0 || writeMessage(conn, answer) != nil {
			return
		}
	}
}

// readMessage reads a message with its length before it, RFC 1035 section 4.2.2.
func readMessage(conn io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		return nil, err
	}
	return message, nil
}

// writeMessage sends a message in one segment with its length.
func writeMessage(conn io.Writer, message []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}
