package vmm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, ` +
	`"capabilities": ["oob"]}}`

// request is a command as the fake monitor sees it.
type request struct {
	Execute   string         `json:"execute"`
	Arguments map[string]any `json:"arguments"`
	ID        uint64         `json:"id"`
	files     int            // descriptors that came along
}

// fakeMonitor is the other end of a QMP connection. It answers each command with what handle returns: lines in which
// "$ID" stands for the command's id. An empty handler result is no answer; nil closes the connection.
type fakeMonitor struct {
	conn *net.UnixConn
	mu   sync.Mutex
	seen []request
}

// ok is the answer of a command that has nothing to say.
func ok() []string { return []string{`{"return": {}, "id": $ID}`} }

func refuse(class, desc string) []string {
	return []string{fmt.Sprintf(`{"error": {"class": %q, "desc": %q}, "id": $ID}`, class, desc)}
}

// startFake listens, greets and serves one connection.
func startFake(t *testing.T, handle func(r request) []string) (path string, m *fakeMonitor) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "qmp.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	m = &fakeMonitor{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		m.mu.Lock()
		m.conn = conn
		m.mu.Unlock()
		m.serve(conn, handle)
	}()
	t.Cleanup(func() {
		_ = l.Close()
		m.mu.Lock()
		if m.conn != nil {
			_ = m.conn.Close()
		}
		m.mu.Unlock()
		<-ended
	})
	return path, m
}

func (m *fakeMonitor) serve(conn *net.UnixConn, handle func(r request) []string) {
	_, _ = fmt.Fprintln(conn, greeting)
	var text []byte
	files := 0
	buf, oob := make([]byte, 4096), make([]byte, 256)
	for {
		line, rest, complete := bytes.Cut(text, []byte{'\n'})
		if !complete {
			n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
			if err != nil || n == 0 {
				return
			}
			files += closeRights(oob[:oobn])
			text = append(text, buf[:n]...)
			continue
		}
		text = rest
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			return
		}
		r.files, files = files, 0
		m.mu.Lock()
		m.seen = append(m.seen, r)
		m.mu.Unlock()
		answers := ok()
		if r.Execute != "qmp_capabilities" {
			answers = handle(r)
		}
		if answers == nil {
			return
		}
		for _, a := range answers {
			_, _ = fmt.Fprintln(conn, strings.ReplaceAll(a, "$ID", fmt.Sprint(r.ID)))
		}
	}
}

// closeRights counts and closes the descriptors of a control message.
func closeRights(oob []byte) int {
	messages, _ := unix.ParseSocketControlMessage(oob)
	n := 0
	for _, msg := range messages {
		fds, _ := unix.ParseUnixRights(&msg)
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		n += len(fds)
	}
	return n
}

// commands returns the names of what arrived after the negotiation, with the number of files if any.
func (m *fakeMonitor) commands() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, r := range m.seen[1:] {
		name := r.Execute
		if r.files > 0 {
			name += fmt.Sprintf("+%d", r.files)
		}
		out = append(out, name)
	}
	return out
}

func (m *fakeMonitor) send(t *testing.T, line string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := fmt.Fprintln(m.conn, line); err != nil {
		t.Error(err)
	}
}
