package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
)

type message struct {
	data []byte
	end  bool
}

// pair returns the two ends of a TCP connection.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return accepted.(*net.TCPConn), dialled.(*net.TCPConn)
}

// TestRelay: two relays back to back are a connection, whose directions end one by one.
func TestRelay(t *testing.T) {
	leftNear, left := pair(t)
	rightNear, right := pair(t)
	there, back := make(chan message), make(chan message)
	done := make(chan error, 2)
	run := func(conn Conn, out chan<- message, in <-chan message) {
		done <- Relay(conn,
			func(data []byte, end bool) error { out <- message{bytes.Clone(data), end}; return nil },
			func() ([]byte, bool, error) { m := <-in; return m.data, m.end, nil })
	}
	go run(leftNear, there, back)
	go run(rightNear, back, there)
	question, answer := bytes.Repeat([]byte("question"), 50_000), bytes.Repeat([]byte("answer"), 50_000)
	go func() {
		_, _ = left.Write(question)
		_ = left.CloseWrite()
	}()
	if got, err := io.ReadAll(right); err != nil || !bytes.Equal(got, question) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(question))
	}
	go func() {
		_, _ = right.Write(answer)
		_ = right.Close()
	}()
	if got, err := io.ReadAll(left); err != nil || !bytes.Equal(got, answer) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(answer))
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestRelayFails: whatever breaks, the connection is reset and the error returned.
func TestRelayFails(t *testing.T) {
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		send    error
		receive func() ([]byte, bool, error)
		want    error
	}{
		"send":     {broken, func() ([]byte, bool, error) { select {} }, broken},
		"receive":  {nil, func() ([]byte, bool, error) { return nil, false, broken }, broken},
		"too long": {nil, func() ([]byte, bool, error) { return make([]byte, MaxData+1), false, nil }, ErrTooLong},
	} {
		near, far := pair(t)
		if _, err := far.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		err := Relay(near, func([]byte, bool) error { return tc.send }, tc.receive)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := io.ReadAll(far); err == nil {
			t.Errorf("%s: the peer sees an orderly end", name)
		}
	}
}
