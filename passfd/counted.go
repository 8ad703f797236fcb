package passfd

import (
	"net"
	"sync"
)

// counted is a connection that closes when both of its directions have.
type counted struct {
	net.Conn
	mu   sync.Mutex
	open int
}

func (c *counted) done() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open--; c.open == 0 {
		return c.Conn.Close()
	}
	return nil
}

func (c *counted) closeRead() error {
	if s, ok := c.Conn.(interface{ CloseRead() error }); ok {
		_ = s.CloseRead()
	}
	return c.done()
}

func (c *counted) closeWrite() error {
	if s, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = s.CloseWrite()
	}
	return c.done()
}

// connHalf is one direction of a connection.
type connHalf struct {
	*counted
	end func(*counted) error
}

// Close ends the direction. It is called once.
func (h connHalf) Close() error { return h.end(h.counted) }
