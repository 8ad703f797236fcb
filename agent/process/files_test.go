package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/runvm/runvm/agentproto"
)

func newFiles(t *testing.T, kinds ...agentproto.PassedFile_Kind) (*Streams, *Files) {
	t.Helper()
	var list []*agentproto.PassedFile
	for _, k := range kinds {
		list = append(list, &agentproto.PassedFile{Kind: k, Device: "null"})
	}
	f, err := NewFiles(list, os.Getuid(), os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	s := &Streams{}
	s.TakeFiles(f)
	t.Cleanup(func() { f.CloseChild(); s.Close() })
	return s, f
}

func readFile(ctx context.Context, s *Streams, number uint32) (string, error) {
	var b bytes.Buffer
	err := s.ReadFile(ctx, number, func(data []byte) error {
		_, err := b.Write(data)
		return err
	})
	return b.String(), err
}

func TestFilePipes(t *testing.T) {
	s, f := newFiles(t, agentproto.PassedFile_PIPE_READER, agentproto.PassedFile_PIPE_WRITER)
	reader, writer := f.Child()[0], f.Child()[1]
	if n, err := s.WriteFile(t.Context(), 3, pieces("one ", "two")); err != nil || n != 7 {
		t.Errorf("%d, %v", n, err)
	}
	if got, err := io.ReadAll(reader); err != nil || string(got) != "one two" {
		t.Errorf("%q, %v", got, err)
	}
	_, _ = writer.WriteString("three")
	_ = writer.Close()
	if got, err := readFile(t.Context(), s, 4); err != nil || got != "three" {
		t.Errorf("%q, %v", got, err)
	}
	for _, number := range []uint32{0, 2, 3, 5} {
		if _, err := readFile(t.Context(), s, number); !errors.Is(err, ErrNoStream) {
			t.Errorf("read %d: %v", number, err)
		}
	}
	if _, err := s.WriteFile(t.Context(), 4, pieces()); !errors.Is(err, ErrNoStream) {
		t.Errorf("write to an output: %v", err)
	}
}

func TestFileStream(t *testing.T) {
	s, f := newFiles(t, agentproto.PassedFile_STREAM)
	conn, err := net.FileConn(f.Child()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f.CloseChild()
	_, _ = s.WriteFile(t.Context(), 3, pieces("question"))
	if got, err := io.ReadAll(conn); err != nil || string(got) != "question" {
		t.Errorf("%q, %v: want it all and the end", got, err)
	}
	_, _ = io.WriteString(conn, "answer")
	_ = conn.(*net.UnixConn).CloseWrite()
	if got, err := readFile(t.Context(), s, 3); err != nil || got != "answer" {
		t.Errorf("%q, %v", got, err)
	}
}

// A reader that goes away is EPIPE to the process, though the other direction goes on.
func TestFileStreamReaderGone(t *testing.T) {
	s, f := newFiles(t, agentproto.PassedFile_STREAM)
	conn, err := net.FileConn(f.Child()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := readFile(ctx, s, 3); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := conn.Write([]byte("x")); err == nil {
		t.Error("written to nobody")
	}
	_, _ = s.WriteFile(t.Context(), 3, pieces("still"))
	if got, err := io.ReadAll(conn); err != nil || string(got) != "still" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFileListeners(t *testing.T) {
	kinds := []agentproto.PassedFile_Kind{
		agentproto.PassedFile_LISTENER_UNIX, agentproto.PassedFile_LISTENER_IPV4, agentproto.PassedFile_PIPE_READER,
	}
	s, f := newFiles(t, kinds...)
	for i := range 2 {
		l, err := net.FileListener(f.Child()[i])
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		number, err := s.Connect(t.Context(), uint32(FirstFile+i))
		if err != nil || number != uint32(FirstFile+len(kinds)+i) {
			t.Fatalf("connection %d, %v", number, err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.WriteFile(t.Context(), number, pieces("question"))
		if got, err := io.ReadAll(conn); err != nil || string(got) != "question" {
			t.Errorf("%q, %v", got, err)
		}
		_, _ = io.WriteString(conn, "answer")
		_ = conn.Close()
		if got, err := readFile(t.Context(), s, number); err != nil || got != "answer" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := readFile(t.Context(), s, number); !errors.Is(err, ErrNoStream) {
			t.Errorf("a connection that is over: %v", err)
		}
	}
	if _, err := s.Connect(t.Context(), 5); !errors.Is(err, ErrNoStream) {
		t.Errorf("connect to a pipe: %v", err)
	}
	f.processEnded()
	if _, err := s.Connect(t.Context(), 3); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("connect after the end: %v", err)
	}
}

// What was written before the process's end is read, and then it is over, though somebody holds the other end.
func TestFileAfterEnd(t *testing.T) {
	s, f := newFiles(t, agentproto.PassedFile_PIPE_WRITER, agentproto.PassedFile_STREAM)
	conn, err := net.FileConn(f.Child()[1])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = f.Child()[0].WriteString("pipe")
	_, _ = io.WriteString(conn, "socket")
	s.ended()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for number, want := range map[uint32]string{3: "pipe", 4: "socket"} {
		if got, err := readFile(ctx, s, number); err != nil || got != want {
			t.Errorf("%d: %q, %v", number, got, err)
		}
	}
}

func TestFileBounds(t *testing.T) {
	for _, list := range [][]*agentproto.PassedFile{
		make([]*agentproto.PassedFile, agentproto.MaxPassedFiles+1),
		{{Kind: agentproto.PassedFile_UNKNOWN}},
		{{Kind: agentproto.PassedFile_DEVICE, Device: "../etc/passwd"}},
	} {
		if _, err := NewFiles(list, 0, 0); err == nil {
			t.Errorf("%d files of %v: no error", len(list), list[0])
		}
	}
}
