package vmm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
	"golang.org/x/sys/unix"
)

// Event is an event of QEMU's, such as SHUTDOWN or GUEST_PANICKED; docs/interop/qemu-qmp-ref of QEMU lists them.
type Event = qmp.Event

// ErrQMPClosed is wrapped by the error of every call once the connection is lost or closed.
var ErrQMPClosed = errors.New("QMP connection closed")

// QMPError is QEMU's refusal of a command.
type QMPError struct {
	Class string `json:"class"` // "GenericError", "DeviceNotFound", ...
	Desc  string `json:"desc"`
}

func (e *QMPError) Error() string { return e.Desc }

// QMP is a connection to QEMU's monitor. It is safe for concurrent use: commands are sent one after the other, and
// answers find their command by its id, so that one that nobody waits for any more disturbs no other.
//
// It uses go-qemu's messages but not its SocketMonitor, whose answers alias a buffer that the next event overwrites: a
// burst of events, which a guest can cause, makes it panic. SocketMonitor also knows no deadlines.
type QMP struct {
	conn   *net.UnixConn
	events chan Event
	done   chan struct{} // closed when the reader has ended
	err    error         // why; set before done is closed

	turn chan struct{} // holds one token: who has it may write

	mu      sync.Mutex
	nextID  uint64
	pending map[uint64]chan reply
	removed map[string]chan error // devices whose end someone waits for
	cleanup map[string][]command  // what is to follow the removal of a hot-plugged device
}

// command is one QMP command. A file travels with it as ancillary data.
type command struct {
	qmp.Command
	ID   uint64 `json:"id"`
	file *os.File
}

// reply is the answer to a command.
type reply struct {
	value json.RawMessage
	err   error
}

// message is anything that QEMU sends.
type message struct {
	Greeting *struct{}       `json:"QMP"`
	Event    string          `json:"event"`
	ID       *uint64         `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *QMPError       `json:"error"`
}

const (
	maxMessage   = 1 << 20 // bytes of one line from QEMU; its own answers here stay below some KiB
	eventBacklog = 64      // events kept for a reader that is slow
	undoTimeout  = 5 * time.Second
)

// DialQMP connects to the monitor socket at path and negotiates.
func DialQMP(ctx context.Context, path string) (*QMP, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to QMP: %w", err)
	}
	q := &QMP{
		conn: conn.(*net.UnixConn), events: make(chan Event, eventBacklog),
		done: make(chan struct{}), turn: make(chan struct{}, 1),
		pending: map[uint64]chan reply{}, removed: map[string]chan error{}, cleanup: map[string][]command{},
	}
	q.turn <- struct{}{}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxMessage)
	if err := q.greet(ctx, lines); err != nil {
		_ = conn.Close()
		return nil, err
	}
	go q.read(lines)
	if err := q.do(ctx, "qmp_capabilities", nil); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

// greet reads QEMU's first line.
func (q *QMP) greet(ctx context.Context, lines *bufio.Scanner) error {
	stop := context.AfterFunc(ctx, func() { _ = q.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if !lines.Scan() {
		if ctx.Err() != nil {
			return fmt.Errorf("wait for QMP's greeting: %w", context.Cause(ctx))
		}
		return fmt.Errorf("wait for QMP's greeting: %w", errOrEOF(lines.Err()))
	}
	var m message
	if err := json.Unmarshal(lines.Bytes(), &m); err != nil || m.Greeting == nil {
		return errors.New("wait for QMP's greeting: the other side is no QEMU monitor")
	}
	return nil
}

func errOrEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// Events delivers QEMU's events. It is closed with the connection. When nobody reads, the oldest events are dropped;
// QMP itself never waits for the reader.
func (q *QMP) Events() <-chan Event { return q.events }

// Close ends the connection; QEMU goes on. Calls under way return ErrQMPClosed.
func (q *QMP) Close() error {
	err := q.conn.Close()
	<-q.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// read takes QEMU's messages apart until the connection ends.
func (q *QMP) read(lines *bufio.Scanner) {
	defer close(q.events)
	defer close(q.done)
	defer q.conn.Close()
	for lines.Scan() {
		if err := q.dispatch(lines.Bytes()); err != nil {
			q.err = fmt.Errorf("%w: %w", ErrQMPClosed, err)
			return
		}
	}
	q.err = fmt.Errorf("%w: %w", ErrQMPClosed, errOrEOF(lines.Err()))
}

// dispatch handles one line, of which it keeps nothing. An error means that the two sides no longer understand each
// other.
func (q *QMP) dispatch(line []byte) error {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return fmt.Errorf("unreadable message from QEMU: %w", err)
	}
	switch {
	case m.Event != "":
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("unreadable event from QEMU: %w", err)
		}
		q.noteRemoval(e)
		q.deliver(e)
		return nil
	case m.ID != nil && m.Error != nil:
		q.answer(*m.ID, reply{err: m.Error})
		return nil
	case m.ID != nil:
		q.answer(*m.ID, reply{value: m.Return})
		return nil
	case m.Error != nil:
		return fmt.Errorf("QEMU could not read a command: %w", m.Error)
	}
	return errors.New("message from QEMU that answers nothing")
}

// deliver queues an event, in place of the oldest one if need be. Only the reader calls it.
func (q *QMP) deliver(e Event) {
	for {
		select {
		case q.events <- e:
			return
		default:
		}
		select {
		case <-q.events:
		default:
		}
	}
}

// answer hands a reply to the call that waits for it, if one still does.
func (q *QMP) answer(id uint64, r reply) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if waiter, ok := q.pending[id]; ok {
		delete(q.pending, id)
		waiter <- r // has room for it
	}
}

// do runs a command whose answer holds nothing.
func (q *QMP) do(ctx context.Context, name string, args any) error {
	_, err := q.run(ctx, command{Command: qmp.Command{Execute: name, Args: args}})
	return err
}

// run sends a command and waits for its answer, the end of the context or that of the connection.
func (q *QMP) run(ctx context.Context, c command) (json.RawMessage, error) {
	waiter := make(chan reply, 1)
	q.mu.Lock()
	q.nextID++
	c.ID = q.nextID
	q.pending[c.ID] = waiter
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		delete(q.pending, c.ID)
		q.mu.Unlock()
	}()
	if err := q.send(ctx, c); err != nil {
		return nil, fmt.Errorf("QMP %s: %w", c.Execute, err)
	}
	select {
	case r := <-waiter:
		if r.err != nil {
			return nil, fmt.Errorf("QMP %s: %w", c.Execute, r.err)
		}
		return r.value, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("QMP %s: %w", c.Execute, context.Cause(ctx))
	case <-q.done:
	}
	// The answer may have come just before the end of the connection, as with quit.
	select {
	case r := <-waiter:
		return r.value, r.err
	default:
		return nil, fmt.Errorf("QMP %s: %w", c.Execute, q.err)
	}
}

// send writes a command. One that went out in part makes the connection useless, so it ends.
func (q *QMP) send(ctx context.Context, c command) error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	select {
	case <-q.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-q.done:
		return q.err
	}
	defer func() { q.turn <- struct{}{} }()
	if err := q.writeUntil(ctx, append(line, '\n'), c.file); err != nil {
		_ = q.conn.Close()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: %w", ErrQMPClosed, err)
	}
	return nil
}

// writeUntil writes a command unless the context ends first.
func (q *QMP) writeUntil(ctx context.Context, line []byte, file *os.File) error {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = q.conn.SetWriteDeadline(time.Unix(1, 0))
	})
	err := q.write(line, file)
	if !stop() {
		<-ended
		// The command went out whole, and the next one shall not find this one's deadline.
		if err == nil {
			err = q.conn.SetWriteDeadline(time.Time{})
		}
	}
	return err
}

func (q *QMP) write(line []byte, file *os.File) error {
	if file == nil {
		_, err := q.conn.Write(line)
		return err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var sent int
	var sendErr error
	err = raw.Control(func(fd uintptr) { sent, _, sendErr = q.conn.WriteMsgUnix(line, unix.UnixRights(int(fd)), nil) })
	if err = errors.Join(err, sendErr); err != nil {
		return err
	}
	if sent < len(line) { // the file has gone with the first part
		_, err = q.conn.Write(line[sent:])
	}
	return err
}
