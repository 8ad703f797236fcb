package sdnotify

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReady(t *testing.T) {
	for in, want := range map[string]string{
		"READY=1": "READY=1", "READY=1\n": "READY=1", "STATUS=x\nREADY=1\nX=y": "READY=1",
		"": "", "STATUS=READY=1": "", "NOTREADY=1": "",
	} {
		if got := string(Ready([]byte(in))); got != want {
			t.Errorf("Ready(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzReady(f *testing.F) {
	f.Add([]byte("STATUS=x\nREADY=1"))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		line := string(Ready(datagram))
		if strings.Contains(line, "\n") || line != "" && !strings.HasPrefix(line, "READY=") {
			t.Errorf("%q", line)
		}
	})
}

// The service manager gets readiness, process and barrier, and the sender waits until the barrier is closed.
func TestSendReady(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(long, "s"), "@sdnotify-test-" + t.Name()} {
		manager := listen(t, path)
		conn, err := Dial(path)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- SendReady(conn, []byte("READY=1"), 42) }()
		_ = manager.SetReadDeadline(time.Now().Add(time.Minute))
		for _, want := range []string{"READY=1\n", "MAINPID=42\n", "BARRIER=1"} {
			buf := make([]byte, 100)
			n, err := manager.Read(buf) // closes what came with it
			if err != nil || string(buf[:n]) != want {
				t.Errorf("%q, %v; want %q", buf[:n], err, want)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	}
}

func listen(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	if dir := filepath.Dir(path); dir != "." {
		t.Chdir(dir)
		path = filepath.Base(path)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestDialNobody(t *testing.T) {
	if conn, err := Dial(filepath.Join(t.TempDir(), "none")); err == nil {
		_ = conn.Close()
		t.Error("connected to nobody")
	}
}
