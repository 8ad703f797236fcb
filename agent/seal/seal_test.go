package seal

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// libcontainer runs the agent as it is only from a file with all of these seals.
func TestSealedCopy(t *testing.T) {
	exe, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	f, err := sealedCopy(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	got, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || got&seals != seals {
		t.Errorf("seals %#x, err %v; want %#x", got, err, seals)
	}
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("write to a sealed file: %v", err)
	}
	want, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(io.NewSectionReader(f, 0, int64(len(want))+1))
	if err != nil || !bytes.Equal(content, want) {
		t.Errorf("copy of %d bytes, err %v; want the %d bytes of %s", len(content), err, len(want), exe)
	}
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o511 {
		t.Errorf("copy %v, err %v", info, err)
	}
}

func TestSealedCopyFails(t *testing.T) {
	if f, err := sealedCopy("/nonexistent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("copy of nothing: %v, %v", f, err)
	}
}

func TestDone(t *testing.T) {
	for arg, want := range map[string]bool{"runvm-agent": true, "/init": false, "": false} {
		if got := Done([]string{arg}); got != want {
			t.Errorf("Done(%q) = %v", arg, got)
		}
	}
	if Done(nil) {
		t.Error("no arguments at all")
	}
}
