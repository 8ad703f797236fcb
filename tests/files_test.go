//go:build e2e

package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// helperBundle is newBundle with the program of tests/helper in /bin.
func helperBundle(t *testing.T, args []string, change ...func(*specs.Spec)) string {
	t.Helper()
	dir := newBundle(t, args, change...)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "rootfs", "bin", "helper"), "./helper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the helper: %v\n%s", err, out)
	}
	return dir
}

// started is a command in the background that was given files from descriptor 3 on.
type started struct {
	*exec.Cmd
	file *os.File
	out  string // all that it wrote; set by code
}

// startWith runs runvm with the files as its descriptors from 3 on. The test's copies are closed.
func (r *runtime) startWith(t *testing.T, env []string, files []*os.File, args ...string) *started {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	s := &started{Cmd: exec.CommandContext(ctx, runvmPath, append([]string{"--root", r.root}, args...)...)}
	s.Env = append(os.Environ(), env...)
	// A file: a detached container that inherits a pipe would keep code waiting.
	s.file = outputFile(t)
	s.Stdout, s.Stderr, s.ExtraFiles = s.file, s.file, files
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		_ = f.Close()
	}
	t.Cleanup(func() {
		if s.ProcessState == nil {
			_ = s.Process.Kill()
			s.code(t)
		}
	})
	return s
}

// code waits for the command's end.
func (s *started) code(t *testing.T) int {
	t.Helper()
	err := s.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Errorf("%v: %v", s.Args, err)
	}
	s.out = contents(t, s.file)
	t.Logf("$ %s\ncode %d\n%s", strings.Join(s.Args, " "), s.ProcessState.ExitCode(), tail(s.out))
	return s.ProcessState.ExitCode()
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// socketPair returns a connection and the file of its other end.
func socketPair(t *testing.T) (*net.UnixConn, *os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	near := os.NewFile(uintptr(fds[0]), "near")
	defer near.Close()
	conn, err := net.FileConn(near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.UnixConn), os.NewFile(uintptr(fds[1]), "far")
}

// TestPassedFiles: descriptors given to exec carry what flows through them, with ends and errors.
func TestPassedFiles(t *testing.T) {
	r := newRuntime(t)
	r.must(t, "run", "--detach", "--bundle", helperBundle(t, []string{"sleep", "1000"}), "c1")
	t.Run("pipes", func(t *testing.T) {
		inR, inW := pipe(t)
		outR, outW := pipe(t)
		c := r.startWith(t, nil, []*os.File{inR, outW}, "exec", "--preserve-fds", "2", "c1", "sh", "-c", "cat <&3 >&4; exec 4>&-; cat; exit 5")
		text := strings.Repeat("0123456789", 100_000)
		go func() {
			_, _ = io.WriteString(inW, text)
			_ = inW.Close()
		}()
		if got, err := io.ReadAll(outR); err != nil || string(got) != text {
			t.Errorf("%d bytes arrived, %v; want %d", len(got), err, len(text))
		}
		if code := c.code(t); code != 5 {
			t.Errorf("code %d", code)
		}
	})
	t.Run("half-closed socket", func(t *testing.T) {
		near, far := socketPair(t)
		c := r.startWith(t, nil, []*os.File{far}, "exec", "--preserve-fds", "1", "c1", "helper", "answer", "3")
		_, _ = io.WriteString(near, "question")
		_ = near.CloseWrite()
		if got, err := io.ReadAll(near); err != nil || string(got) != "heard 8 bytes: question" {
			t.Errorf("%q, %v", got, err)
		}
		if code := c.code(t); code != 0 {
			t.Errorf("code %d", code)
		}
	})
	t.Run("reader gone", func(t *testing.T) {
		outR, outW := pipe(t)
		_ = outR.Close()
		c := r.startWith(t, nil, []*os.File{outW}, "exec", "--preserve-fds", "1", "c1", "sh", "-c", "yes >&3; exit $?")
		if code := c.code(t); code != 128+int(syscall.SIGPIPE) && code != 1 {
			t.Errorf("code %d of a writer without a reader", code)
		}
	})
	t.Run("device", func(t *testing.T) {
		null, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		c := r.startWith(t, nil, []*os.File{null}, "exec", "--preserve-fds", "1", "c1", "sh", "-c", "cat <&3; readlink /proc/self/fd/3")
		if code := c.code(t); code != 0 || c.out != "/dev/null\n" {
			t.Errorf("code %d, %q", code, c.out)
		}
	})
	t.Run("refused", func(t *testing.T) {
		regular := outputFile(t)
		c := r.startWith(t, nil, []*os.File{regular}, "exec", "--preserve-fds", "1", "c1", "true")
		want := "file descriptor 3 is a regular file, which cannot be passed to a process of exec"
		if code := c.code(t); code != 255 || !strings.Contains(c.out, want) {
			t.Errorf("code %d, %q", code, c.out)
		}
		if got := r.run(t, "exec", "--preserve-fds", "1", "c1", "true"); got.code != 255 || !strings.Contains(got.stderr, "file descriptor 3") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("nothing beyond", func(t *testing.T) {
		inR, _ := pipe(t)
		c := r.startWith(t, nil, []*os.File{inR}, "exec", "c1", "sh", "-c", "ls /proc/self/fd | wc -l")
		if c.code(t); c.out != "4\n" { // stdio and the folder
			t.Errorf("%q descriptors", c.out)
		}
	})
}

// TestSocketActivation: LISTEN_FDS reaches the container, and each connection on the host becomes one in the guest.
func TestSocketActivation(t *testing.T) {
	r := newRuntime(t)
	path := filepath.Join(t.TempDir(), "socket")
	unixL, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer unixL.Close()
	tcpL, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcpL.Close()
	unixF, err := unixL.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	tcpF, err := tcpL.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW := pipe(t)
	// Regular files are the same files, at the same place.
	input, output := filepath.Join(t.TempDir(), "input"), filepath.Join(t.TempDir(), "output")
	for path, text := range map[string]string{input: "skipped read", output: "old "} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inF, err := os.Open(input)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inF.Seek(int64(len("skipped ")), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	outF, err := os.OpenFile(output, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	script := "echo $LISTEN_FDS $LISTEN_PID >&5; cat <&6 >&7; helper serve 3 2 && helper serve 4 1"
	bundle := helperBundle(t, []string{"sh", "-c", script})
	// The pid must be that of runvm itself: a shell sets it and becomes runvm.
	c := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=2 exec "$@"`, "sh", runvmPath, "--root", r.root, "run", "--preserve-fds", "3", "--bundle", bundle, "c1")
	c.ExtraFiles, c.Stdout, c.Stderr = []*os.File{unixF, tcpF, outW, inF, outF}, os.Stderr, os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range c.ExtraFiles {
		_ = f.Close()
	}
	for i, l := range []net.Listener{unixL, unixL, tcpL} {
		conn, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(limit))
		fmt.Fprintf(conn, "question %d", i)
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		got, err := io.ReadAll(conn)
		if want := fmt.Sprintf("heard 10 bytes: question %d", i); err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		_ = conn.Close()
	}
	if got, err := io.ReadAll(outR); err != nil || string(got) != "2 1\n" {
		t.Errorf("LISTEN_FDS and LISTEN_PID: %q, %v", got, err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(output); err != nil || string(got) != "old read" {
		t.Errorf("the file holds %q, %v", got, err)
	}
}

// TestPodmanPreserveFDs passes a file and a pipe through podman and conmon.
func TestPodmanPreserveFDs(t *testing.T) {
	newPodman(t)
	file := outputFile(t)
	if _, err := file.WriteString("content"); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	outR, outW := pipe(t)
	args := append(engine.flags(), "run", "--rm", "--network", "none", "--preserve-fds", "2", "busybox", "sh", "-c", "cat <&3 >&4")
	c := exec.Command("podman", args...)
	c.ExtraFiles, c.Stdout, c.Stderr = []*os.File{file, outW}, os.Stderr, os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_ = outW.Close()
	if got, err := io.ReadAll(outR); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}
