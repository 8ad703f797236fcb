// Package relay carries a connection over a stream of messages, with half-closes.
package relay

import (
	"errors"
	"io"
	"net"
)

// MaxData bounds the data of one message, in bytes.
const MaxData = 64 << 10

// ErrTooLong says that the other side sent more than MaxData.
var ErrTooLong = errors.New("message too long")

// Conn is a connection whose writing side can be closed alone.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Relay carries data between the connection and the stream until both have ended, or one fails: then it returns at once,
// and a receive that is under way ends with the stream, which the caller gives up. A message with end is the last one of
// its direction. Relay closes the connection; after an error its peer sees a reset, not an orderly end.
func Relay(conn Conn, send func(data []byte, end bool) error, receive func() (data []byte, end bool, err error)) error {
	results := make(chan error, 2)
	go func() { results <- upstream(conn, send) }()
	go func() { results <- downstream(conn, receive) }()
	err := <-results
	if err == nil {
		err = <-results
	}
	if err != nil {
		Reset(conn)
		return err
	}
	return conn.Close()
}

// Reset closes a connection so that its peer knows that something went wrong.
func Reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func upstream(conn Conn, send func(data []byte, end bool) error) error {
	buf := make([]byte, MaxData)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			if err := send(buf[:n], false); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return send(nil, true)
		}
		if err != nil {
			return err
		}
	}
}

func downstream(conn Conn, receive func() (data []byte, end bool, err error)) error {
	for {
		data, end, err := receive()
		if err != nil {
			return err
		}
		if len(data) > MaxData {
			return ErrTooLong
		}
		if _, err := conn.Write(data); err != nil {
			return err
		}
		if end {
			return conn.CloseWrite()
		}
	}
}
