package agentclient

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/runvm/runvm/agentproto"
)

func TestDialRefusesAnotherProtocol(t *testing.T) {
	f := &fakeAgent{hello: &agentproto.Hello{Protocol: agentproto.Protocol + 1, Version: "9\x1b[2J"}}
	_, err := Dial(t.Context(), serve(t, f))
	if !errors.Is(err, ErrProtocol) {
		t.Fatalf("err %v", err)
	}
	if strings.ContainsRune(err.Error(), 0x1b) {
		t.Errorf("%q has the guest's control characters", err)
	}
}

func TestDialUnreachable(t *testing.T) {
	_, err := Dial(t.Context(), func(context.Context) (net.Conn, error) { return nil, errors.New("no sandbox") })
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no sandbox") {
		t.Errorf("err %v", err)
	}
}

func TestFromStatus(t *testing.T) {
	for code, want := range map[codes.Code]error{
		codes.NotFound:           ErrNotFound,
		codes.AlreadyExists:      ErrExists,
		codes.FailedPrecondition: ErrFailedPrecondition,
		codes.InvalidArgument:    ErrInvalid,
		codes.Unimplemented:      ErrUnsupported,
		codes.Unavailable:        ErrUnavailable,
		codes.Canceled:           context.Canceled,
		codes.DeadlineExceeded:   context.DeadlineExceeded,
		codes.Internal:           ErrInternal,
		codes.Code(4711):         ErrInternal,
	} {
		if err := FromStatus(status.Error(code, "text")); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", code, err, want)
		}
	}
	runc := `exec: "foo": executable file not found in $PATH`
	if got := FromStatus(status.Error(codes.FailedPrecondition, runc)).Error(); got != runc {
		t.Errorf("text %q", got)
	}
	if FromStatus(nil) != nil {
		t.Error("nil became an error")
	}
	plain := errors.New("plain")
	if got := FromStatus(plain); got != plain { // the same one
		t.Errorf("plain became %v", got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[31mred\r\n\x00")
	f.Add(strings.Repeat("ä", maxText))
	f.Add("\xff\xfe")
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\x1b\r\n\t") || utf8.RuneCountInString(got) > maxText+3 {
			t.Errorf("clean(%q) = %q", s, got)
		}
	})
}
