package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/sandbox"
)

// Stage is the name of the hidden command that Main implements: the process that makes a template. It is a process of
// its own because the template's QEMU runs in its network namespace, which is an empty one.
const Stage = "template-maker"

// order is what a maker gets on its stdin.
type order struct {
	Store, Key string
	Background bool
	Sandbox    sandbox.Config // Dirs are filled in by the maker
}

// StartMaker starts a maker in the background, with the least priority and no ties to the caller, and does not wait.
func (s Store) StartMaker(key string, c sandbox.Config, logFlags []string) error {
	cmd, err := maker(order{Store: s.dir, Key: key, Background: true, Sandbox: c}, logFlags)
	if err != nil {
		return err
	}
	defer cmd.Stdin.(*os.File).Close()
	failed := make(chan error)
	go func() {
		// The thread, whose priority the child inherits, ends with this goroutine since it stays locked.
		runtime.LockOSThread()
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
		failed <- cmd.Start()
	}()
	if err := <-failed; err != nil {
		return fmt.Errorf("start the template's maker: %w", err)
	}
	return cmd.Process.Release()
}

// RunMaker makes a template and waits until it is there.
func (s Store) RunMaker(ctx context.Context, key string, c sandbox.Config, logFlags []string) error {
	cmd, err := maker(order{Store: s.dir, Key: key, Sandbox: c}, logFlags)
	if err != nil {
		return err
	}
	defer cmd.Stdin.(*os.File).Close()
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the template's maker: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
	defer stop()
	if err := cmd.Wait(); err != nil {
		if text := strings.TrimSpace(said.String()); text != "" {
			err = errors.New(text)
		}
		return errors.Join(ctx.Err(), fmt.Errorf("make the template: %w", err))
	}
	return nil
}

func maker(o order, logFlags []string) (*exec.Cmd, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("template", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "template")
	if _, err := f.WriteAt(text, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	cmd := exec.Command("/proc/self/exe", append(logFlags, Stage)...)
	cmd.Args[0] = "runvm"
	cmd.Dir = "/"
	cmd.Stdin = f
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNET}
	return cmd, nil
}

// Main is the maker's process.
func Main(ctx context.Context) error {
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return fmt.Errorf("%s is internal to runvm: %w", Stage, err)
	}
	build := func(dir string) error { return build(ctx, o.Sandbox, dir) }
	s := Open(o.Store)
	if !o.Background {
		return s.Make(o.Key, build)
	}
	if err := s.TryMake(o.Key, build); !errors.Is(err, ErrBusy) {
		return err
	}
	return nil
}

// build makes the template's files in dir. The directories that its QEMU needs lie beside them while it runs.
func build(ctx context.Context, c sandbox.Config, dir string) (err error) {
	work := filepath.Join(dir, "work")
	c.ID = "template"
	c.Dirs = sandbox.Dirs{Jail: filepath.Join(work, "jail"), VM: filepath.Join(work, "vm"), QMP: "qmp.sock"}
	for _, d := range []string{work, c.Dirs.Jail, c.Dirs.VM} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := sandbox.MakeTemplate(ctx, c, dir); err != nil {
		return err
	}
	return os.RemoveAll(work)
}
