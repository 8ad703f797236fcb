package monitor

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLines(t *testing.T) {
	var b bytes.Buffer
	want := request{Op: opAttachExec, Container: "c\n1", Exec: "e"}
	if err := writeLine(&b, want); err != nil {
		t.Fatal(err)
	}
	b.WriteString("rest")
	var got request
	if err := readLine(&b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if b.String() != "rest" {
		t.Errorf("%q is left, want what followed the line", b.String())
	}
}

func TestLongLine(t *testing.T) {
	var got request
	if err := readLine(strings.NewReader(strings.Repeat("x", maxLine+2)), &got); err == nil {
		t.Error("a line without end was read")
	}
}

func TestReply(t *testing.T) {
	for in, want := range map[string]string{
		"{}\n":                     "",
		"{\"error\":\"no tap\"}\n": "no tap",
		"":                         "the sandbox's monitor ended: EOF",
	} {
		err := readReply(strings.NewReader(in))
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("reply %q: %v, want %q", in, err, want)
		}
	}
	if err := readReply(strings.NewReader("no JSON\n")); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("garbage: %v", err)
	}
}

func FuzzReadLine(f *testing.F) {
	f.Add([]byte("{\"op\":\"attach\",\"container\":\"c\"}\n"))
	f.Add([]byte("{"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		var r request
		_ = readLine(bytes.NewReader(data), &r)
	})
}
