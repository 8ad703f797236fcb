package vmm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// short is a context for calls that are expected to succeed or fail by themselves.
func short(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, handle func(r request) []string) (*QMP, *fakeMonitor) {
	t.Helper()
	path, m := startFake(t, handle)
	q, err := DialQMP(short(t), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q, m
}

func TestQMPControl(t *testing.T) {
	q, m := dial(t, func(r request) []string {
		if r.Execute == "query-status" {
			return []string{`{"return": {"status": "running", "running": true}, "id": $ID}`}
		}
		return ok()
	})
	ctx := short(t)
	if status, err := q.Status(ctx); err != nil || status != "running" {
		t.Errorf("status %q, %v", status, err)
	}
	for _, f := range []func(context.Context) error{q.Stop, q.Cont, q.Powerdown, q.Quit} {
		if err := f(ctx); err != nil {
			t.Error(err)
		}
	}
	want := "query-status stop cont system_powerdown quit"
	if got := strings.Join(m.commands(), " "); got != want {
		t.Errorf("commands %q, want %q", got, want)
	}
}

func TestQMPRefusal(t *testing.T) {
	q, _ := dial(t, func(request) []string { return refuse("GenericError", "not now") })
	err := q.Stop(short(t))
	var refusal *QMPError
	if !errors.As(err, &refusal) || refusal.Class != "GenericError" || err.Error() != "QMP stop: not now" {
		t.Errorf("got error %v", err)
	}
}

func TestQMPMisbehaviour(t *testing.T) {
	long := `{"return": "` + strings.Repeat("x", maxMessage) + `", "id": $ID}`
	for name, answers := range map[string][]string{
		"end of file":     nil,
		"garbage":         {"\x00\xff not JSON"},
		"endless line":    {long},
		"list":            {"[1, 2]"},
		"no purpose":      {`{"x": 1}`},
		"unparsed":        {`{"error": {"class": "GenericError", "desc": "JSON parse error"}}`},
		"bad event":       {`{"event": "STOP", "data": 3}`},
		"id is no number": {`{"return": {}, "id": "one"}`},
	} {
		t.Run(name, func(t *testing.T) {
			q, _ := dial(t, func(request) []string { return answers })
			if err := q.Stop(short(t)); !errors.Is(err, ErrQMPClosed) {
				t.Errorf("got error %.200v", err)
			}
			if err := q.Cont(short(t)); !errors.Is(err, ErrQMPClosed) {
				t.Errorf("a later call got error %.200v", err)
			}
			for range q.Events() { // closed, so this ends
			}
		})
	}
}

func TestQMPQuitWithoutAnswer(t *testing.T) {
	q, _ := dial(t, func(request) []string { return nil })
	if err := q.Quit(short(t)); err != nil {
		t.Errorf("got error %v", err)
	}
}

func TestQMPBadGreeting(t *testing.T) {
	for _, text := range []string{"", "hello\n", "{}\n"} {
		path := filepath.Join(t.TempDir(), "qmp.sock")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if conn, err := l.Accept(); err == nil {
				_, _ = conn.Write([]byte(text))
				_ = conn.Close()
			}
		}()
		if _, err := DialQMP(short(t), path); err == nil {
			t.Errorf("connected to something that says %q", text)
		}
		_ = l.Close()
	}
}

// TestQMPSilence checks that every wait ends with the context, and that the answer which comes late harms nobody.
func TestQMPSilence(t *testing.T) {
	silent := make(chan uint64, 1)
	q, m := dial(t, func(r request) []string {
		if r.Execute == "stop" {
			silent <- r.ID
			return []string{}
		}
		return ok()
	})
	ctx, cancel := context.WithCancelCause(context.Background())
	late := errors.New("enough")
	var id uint64
	go func() {
		id = <-silent
		cancel(late)
	}()
	if err := q.Stop(ctx); !errors.Is(err, late) {
		t.Errorf("got error %v", err)
	}
	m.send(t, fmt.Sprintf(`{"return": {}, "id": %d}`, id))
	if err := q.Cont(short(t)); err != nil {
		t.Errorf("after the late answer: %v", err)
	}
}

func TestQMPSilentGreeting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qmp.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := DialQMP(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v", err)
	}
}

// TestQMPEventFlood checks that events nobody reads neither hold up nor damage answers, and that the newest are kept.
func TestQMPEventFlood(t *testing.T) {
	padding := strings.Repeat("p", 300)
	q, _ := dial(t, func(request) []string {
		answers := []string{`{"return": {"status": "` + strings.Repeat("s", 3000) + `"}, "id": $ID}`}
		for i := range 50 {
			answers = append(answers, fmt.Sprintf(`{"event": "RTC_CHANGE", "data": {"n": %d, "p": %q}}`, i, padding))
		}
		return append(answers, `{"event": "LAST"}`)
	})
	for range 200 {
		status, err := q.Status(short(t))
		if err != nil || status != strings.Repeat("s", 3000) {
			t.Fatalf("status of %d bytes, %v", len(status), err)
		}
	}
	_ = q.Close()
	var last Event
	n := 0
	for last = range q.Events() {
		n++
	}
	if n > eventBacklog {
		t.Errorf("%d events kept", n)
	}
	if last.Event == "" {
		t.Error("no event kept")
	}
}

func TestQMPConcurrent(t *testing.T) {
	q, _ := dial(t, func(r request) []string {
		return []string{fmt.Sprintf(`{"return": {"status": "%d"}, "id": $ID}`, r.ID)}
	})
	var wg sync.WaitGroup
	seen := make(chan string, 50)
	for range 50 {
		wg.Go(func() {
			status, err := q.Status(short(t))
			if err != nil {
				t.Error(err)
			}
			seen <- status
		})
	}
	wg.Wait()
	close(seen)
	distinct := map[string]bool{}
	for s := range seen {
		distinct[s] = true
	}
	if len(distinct) != 50 {
		t.Errorf("%d different answers for 50 calls", len(distinct))
	}
}

// TestQMPBlockedWrite fills the socket of a monitor that does not read.
func TestQMPBlockedWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qmp.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	held := make(chan net.Conn, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintln(conn, greeting)
		_, _ = bufio.NewReaderSize(conn, 16).ReadString('\n')
		_, _ = fmt.Fprintln(conn, `{"return": {}, "id": 1}`)
		held <- conn
	}()
	q, err := DialQMP(short(t), path)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	defer func() { _ = (<-held).Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	big := arguments{"x": strings.Repeat("x", 1<<20)}
	if err := q.do(ctx, "stop", big); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %.200v", err)
	}
	if err := q.Stop(short(t)); !errors.Is(err, ErrQMPClosed) {
		t.Errorf("after half a command: %.200v", err)
	}
}

// FuzzDispatch feeds arbitrary lines to the reader's parser.
func FuzzDispatch(f *testing.F) {
	for _, line := range []string{
		greeting, `{"return": {}, "id": 1}`, `{"event": "DEVICE_DELETED", "data": {"device": "nic0", "path": "/x"}}`,
		`{"event": "DEVICE_DELETED", "data": {"device": 7}}`, `{"error": {"class": "x", "desc": "y"}, "id": 1}`,
		`{"id": null}`, "", "null", "[", `{"event": "DEVICE_UNPLUG_GUEST_ERROR", "data": {"device": "nic0"}}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		waiter := make(chan reply, 1)
		q := &QMP{
			events: make(chan Event, 1), pending: map[uint64]chan reply{1: waiter},
			removed: map[string]chan error{"nic0": make(chan error, 1)},
		}
		for range 3 { // repeated messages must not block either
			_ = q.dispatch(line)
		}
	})
}

func devNull(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
