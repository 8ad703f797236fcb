package transport

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/runvm/runvm/agentproto"
)

func TestScanPorts(t *testing.T) {
	class := t.TempDir()
	for port, name := range map[string]string{"vport1p0": "other\n", "vport1p1": agentproto.SerialPortName + "\n"} {
		if err := os.Mkdir(filepath.Join(class, port), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(class, port, "name"), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(class, "vport1p2"), 0o755); err != nil { // its name is not known yet
		t.Fatal(err)
	}
	for name, want := range map[string]string{agentproto.SerialPortName: "/dev/vport1p1", "nonesuch": ""} {
		if got, err := scanPorts(class, name); got != want || err != nil {
			t.Errorf("port %q: %q, %v; want %q", name, got, err, want)
		}
	}
}

// The host sees the ready line first and then a yamux server, whose listener ends with the host.
func TestServeSession(t *testing.T) {
	host, guest := net.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- serveSession(guest, func(l net.Listener) error {
			for {
				conn, err := l.Accept()
				if err != nil {
					return err
				}
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}
		})
	}()
	line := make([]byte, len(agentproto.ReadyLine))
	if _, err := io.ReadFull(host, line); err != nil || string(line) != agentproto.ReadyLine {
		t.Fatalf("first words %q, %v", line, err)
	}
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	session, err := yamux.Client(host, config)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := session.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "ping" {
		t.Errorf("answer %q, %v", answer, err)
	}
	_ = session.Close()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the session did not end with its host")
	}
}
