package unixsock

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/internal/fdset"
)

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 200))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(dir, "sock")
	if err != nil {
		t.Fatal(err)
	}
	client, err := Dial(t.Context(), dir, "sock")
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(server)
	if err != nil || string(got) != "hello" {
		t.Errorf("received %q, %v", got, err)
	}
	if err := errors.Join(server.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "sock")); err != nil {
		t.Errorf("the socket's file is the caller's to remove: %v", err)
	}
	if _, err := Dial(t.Context(), dir, "sock"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("Dial without a listener = %v, want ECONNREFUSED", err)
	}
}

func TestErrorsNameThePath(t *testing.T) {
	dir := t.TempDir()
	_, err := Dial(t.Context(), dir, "sock")
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), filepath.Join(dir, "sock")) ||
		strings.Contains(err.Error(), "/proc/") {
		t.Errorf("error = %v, want the path of the missing socket", err)
	}
	if _, err := Listen(filepath.Join(dir, "no"), "sock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error = %v, want os.ErrNotExist", err)
	}
}

func TestNoDescriptorLeaks(t *testing.T) {
	before, err := fdset.Open()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for range 10 {
		if _, err := Dial(t.Context(), dir, "sock"); err == nil {
			t.Fatal("connected to nothing")
		}
	}
	after, err := fdset.Open()
	if err != nil {
		t.Fatal(err)
	}
	if len(after) > len(before)+2 { // the runtime's poller opens up to two
		t.Errorf("descriptors before: %v, after: %v", before, after)
	}
}
