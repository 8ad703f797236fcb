// Package uevent listens to the kernel's device events.
package uevent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Event is one device event. The zero value stands for events that were lost: look again.
type Event struct {
	Action    string // "add", "change", "remove", ...
	Path      string // below /sys, with a leading slash
	Subsystem string
}

// Listener is a subscription to the kernel's events. Its owner closes it.
type Listener struct {
	f   *os.File
	buf []byte
}

// Listen subscribes (netlink(7), NETLINK_KOBJECT_UEVENT).
func Listen() (*Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK,
		unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("uevent socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("uevent socket: %w", err)
	}
	// The kernel bounds an event at 2 KiB (UEVENT_BUFFER_SIZE).
	return &Listener{f: os.NewFile(uintptr(fd), "uevents"), buf: make([]byte, 8<<10)}, nil
}

// Close ends the subscription, and a Next under way.
func (l *Listener) Close() error { return l.f.Close() }

// SetDeadline makes Next fail with os.ErrDeadlineExceeded at t.
func (l *Listener) SetDeadline(t time.Time) error { return l.f.SetReadDeadline(t) }

// Next waits for an event.
func (l *Listener) Next() (Event, error) {
	for {
		n, err := l.f.Read(l.buf)
		if errors.Is(err, unix.ENOBUFS) {
			return Event{}, nil
		}
		if err != nil {
			return Event{}, err
		}
		if e, ok := Parse(l.buf[:n]); ok {
			return e, nil
		}
	}
}

// Parse reads a message: "ACTION@PATH", then "KEY=value" strings, each ended by a zero byte (lib/kobject_uevent.c).
func Parse(message []byte) (Event, bool) {
	head, rest, _ := bytes.Cut(message, []byte{0})
	action, path, ok := strings.Cut(string(head), "@")
	if !ok || !strings.HasPrefix(path, "/") {
		return Event{}, false
	}
	e := Event{Action: action, Path: path}
	for field := range bytes.SplitSeq(rest, []byte{0}) {
		if value, ok := bytes.CutPrefix(field, []byte("SUBSYSTEM=")); ok {
			e.Subsystem = string(value)
		}
	}
	return e, true
}
