package agentclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What the agent's answers mean. FromStatus wraps one of them.
var (
	// ErrProtocol: host and guest image do not fit each other.
	ErrProtocol = errors.New("agent protocol mismatch")
	// ErrNotFound: the container or process does not exist, or has ended.
	ErrNotFound = errors.New("not found in the guest")
	// ErrExists: the id is taken.
	ErrExists = errors.New("exists in the guest")
	// ErrFailedPrecondition: the request does not fit the container's state or content; the text is runc's.
	ErrFailedPrecondition = errors.New("refused by the guest")
	// ErrInvalid: the agent cannot make sense of the request.
	ErrInvalid = errors.New("invalid request to the guest")
	// ErrUnsupported: the agent or the guest's kernel cannot do that.
	ErrUnsupported = errors.New("not supported by the guest")
	// ErrUnavailable: the agent cannot be reached.
	ErrUnavailable = errors.New("agent unavailable")
	// ErrInternal: the agent failed, or it answered with something that the protocol does not allow.
	ErrInternal = errors.New("agent error")
)

// maxText bounds a text from the guest, in bytes.
const maxText = 4 << 10

// answer is an error of the agent's. Its text is the agent's own, so that it can be printed where runc prints its own.
type answer struct {
	text string
	kind error
}

func (a *answer) Error() string { return a.text }
func (a *answer) Unwrap() error { return a.kind }

// FromStatus turns the error of a call into one that wraps a sentinel of this package, or context.Canceled and
// context.DeadlineExceeded. Error() of the result is the agent's message, bounded and without control characters.
// Errors which are no gRPC status, and nil, are returned as they are.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	text := clean(s.Message())
	kind := sentinel(s.Code())
	if text == "" {
		text = kind.Error()
	}
	if errors.Is(kind, ErrUnavailable) {
		text = fmt.Sprintf("%v: %s", ErrUnavailable, text)
	}
	return &answer{text: text, kind: kind}
}

func sentinel(c codes.Code) error {
	switch c {
	case codes.NotFound:
		return ErrNotFound
	case codes.AlreadyExists:
		return ErrExists
	case codes.FailedPrecondition:
		return ErrFailedPrecondition
	case codes.InvalidArgument, codes.OutOfRange:
		return ErrInvalid
	case codes.Unimplemented:
		return ErrUnsupported
	case codes.Unavailable:
		return ErrUnavailable
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	default:
		return ErrInternal
	}
}

// clean bounds a text from the guest and replaces what could steer a terminal or break a log line.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
		if r, n := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && n == 1 {
			s = s[:len(s)-1]
		}
		s += "..."
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.TrimSpace(s))
}
