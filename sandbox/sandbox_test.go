package sandbox

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/netns"
	"github.com/runvm/runvm/vmm"
)

func TestNetworkRequest(t *testing.T) {
	got := networkRequest(netns.State{
		Interfaces: []netns.Interface{{Name: "eth0", MAC: "02:00:00:00:00:01", MTU: 1400, Addresses: []string{"10.0.0.2/24"}, Up: true}},
		Routes: []netns.Route{{
			Destination: "10.1.0.0/16", Gateway: "10.0.0.1", Source: "10.0.0.2", Interface: "eth0", Scope: 1, Table: 254,
			Priority: 5, MTU: 1300, Type: 1, Family: 2, Flags: 4, Protocol: 3, AdvMSS: 1200, TOS: 8,
			Multipath: []netns.NextHop{{Gateway: "10.0.0.3", Interface: "eth0", Weight: 2, Flags: 4}},
		}},
		Neighbours: []netns.Neighbour{{Interface: "eth0", Address: "10.0.0.9", MAC: "02:00:00:00:00:09", State: 128, Flags: 1}},
		Rules: []netns.Rule{{
			Family: 2, Priority: 100, Table: 7, Source: "10.0.0.0/24", Destination: "10.2.0.0/16", Mark: 1, Mask: 3,
			InputInterface: "eth0", OutputInterface: "eth1", Invert: true,
		}},
	})
	want := &agentproto.ConfigureNetworkRequest{
		Interfaces: []*agentproto.Interface{{Name: "eth0", Mac: "02:00:00:00:00:01", Mtu: 1400, Addresses: []string{"10.0.0.2/24"}, Up: true}},
		Routes: []*agentproto.Route{{
			Destination: "10.1.0.0/16", Gateway: "10.0.0.1", Source: "10.0.0.2", Interface: "eth0", Scope: 1, Table: 254,
			Priority: 5, Mtu: 1300, Type: 1, Family: 2, Flags: 4, Protocol: 3, Advmss: 1200, Tos: 8,
			Multipath: []*agentproto.NextHop{{Gateway: "10.0.0.3", Interface: "eth0", Weight: 2, Flags: 4}},
		}},
		Neighbours: []*agentproto.Neighbour{{Interface: "eth0", Address: "10.0.0.9", Mac: "02:00:00:00:00:09", State: 128, Flags: 1}},
		Rules: []*agentproto.Rule{{
			Family: 2, Priority: 100, Table: 7, Source: "10.0.0.0/24", Destination: "10.2.0.0/16", Mark: 1, Mask: 3,
			InputInterface: "eth0", OutputInterface: "eth1", Invert: true,
		}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

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
		got := s.cmdline([]string{"x=y"})
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
