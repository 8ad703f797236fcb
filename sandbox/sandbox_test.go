package sandbox

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/vmm"
)

// TestReadReady: the guest's first words are all that is read, and nothing else passes for them.
func TestReadReady(t *testing.T) {
	for name, tc := range map[string]struct{ said, wantErr string }{
		"ready":   {agentproto.ReadyLine + "rest", ""},
		"another": {"runvm-agent hello!!" + agentproto.ReadyLine, "the guest image does not fit"},
		"silence": {"", "EOF"},
		"half":    {"runvm", "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			host, guest := net.Pipe()
			go func() {
				_, _ = guest.Write([]byte(tc.said))
				_ = guest.Close()
			}()
			err := readReady(context.Background(), host)
			if tc.wantErr == "" && err != nil || tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("%v, want %q", err, tc.wantErr)
			}
			_ = host.Close()
		})
	}
}

func TestReadReadyGivesUp(t *testing.T) {
	host, guest := net.Pipe()
	defer guest.Close()
	reason := errors.New("the machine ended")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(reason)
	if err := readReady(ctx, host); !errors.Is(err, reason) {
		t.Errorf("%v, want %v", err, reason)
	}
}

// TestConsoleIsBounded: a guest may print as much as it likes.
func TestConsoleIsBounded(t *testing.T) {
	host, guest := net.Pipe()
	c := newConsole(host)
	for range 100 {
		if _, err := guest.Write([]byte(strings.Repeat("x", 1000))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := guest.Write([]byte("the end")); err != nil {
		t.Fatal(err)
	}
	_ = guest.Close()
	<-c.done
	if text := c.text(); len(text) != consoleTail || !strings.HasSuffix(text, "the end") {
		t.Errorf("%d bytes kept, ending with %q", len(text), text[max(0, len(text)-10):])
	}
	c.close()
}

func TestCmdline(t *testing.T) {
	for name, tc := range map[string]struct {
		config Config
		want   []string
		not    string
	}{
		"virtiofs over serial": {Config{Accel: vmm.TCG, Virtiofsd: "/v"}, []string{"runvm.modules=serial,virtiofs,net,rng,balloon", "x=y"}, "9p"},
		"9p over vsock":        {Config{Accel: vmm.KVM, Vsock: true, Parameters: "debug a=b"}, []string{"runvm.modules=serial,9p,net,rng,balloon,vsock", "debug a=b"}, "virtiofs"},
	} {
		s := &Sandbox{config: tc.config}
		got := cmdline(s.config, []string{"x=y"})
		for _, w := range tc.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q lacks %q", name, got, w)
			}
		}
		if strings.Contains(got, tc.not) {
			t.Errorf("%s: %q holds %q", name, got, tc.not)
		}
	}
}
