package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/internal/pidfd"
	"github.com/runvm/runvm/tests/bundle"
)

// limit bounds every round: generous, since a loaded machine without KVM is slow.
const limit = 3 * time.Minute

// engine is a runtime with state and bundles of its own.
type engine struct {
	name, path string
	version    string
	dir        string   // holds everything below
	stderr     *os.File // of every command and container
	id         string
	env        []string // nil: ours
	template   string   // that was made for the engine
}

// find returns the runtimes that are here and run a container, and why the others are left out. The caller tidies
// the engines, also beside an error.
func find(ctx context.Context, o options, dir string) (engines []*engine, left map[string]string, err error) {
	left = map[string]string{}
	for _, name := range []string{fromTemplate, booted, "runc", "crun"} {
		program := name
		if name == fromTemplate || name == booted {
			program = o.runvm
		}
		e, err := newEngine(name, program, o.root, dir)
		if err == nil {
			err = e.prepare(ctx)
		}
		if err == nil {
			// Not counted: caches are filled, and what cannot work shows.
			err = e.round(ctx, samples{})
		}
		if err == nil {
			engines = append(engines, e)
			continue
		}
		if e != nil {
			err = errors.Join(err, e.tidy())
		}
		if ctx.Err() != nil {
			return engines, nil, context.Cause(ctx)
		}
		left[name] = err.Error()
	}
	return engines, left, nil
}

func newEngine(name, program, root, dir string) (*engine, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	e := &engine{name: name, path: path, dir: filepath.Join(dir, name), id: fmt.Sprintf("bench-%s-%d", name, os.Getpid())}
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", path, err)
	}
	e.version, _, _ = strings.Cut(string(out), "\n")
	if err := os.Mkdir(e.dir, 0o700); err != nil {
		return nil, err
	}
	if e.stderr, err = os.Create(filepath.Join(e.dir, "stderr")); err != nil {
		return nil, err
	}
	for kind, args := range map[string][]string{"true": {"true"}, "idle": {"sleep", "1000000"}} {
		spec := bundle.Spec(args)
		spec.Linux.CgroupsPath = e.cgroup()
		if err := os.Mkdir(e.bundle(kind), 0o755); err != nil {
			return nil, err
		}
		if err := bundle.Write(e.bundle(kind), root, spec); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *engine) bundle(kind string) string { return filepath.Join(e.dir, kind) }

func (e *engine) cgroup() string { return "/" + e.id }

// run runs a command of the runtime to its end and returns how long it took. The container inherits its stdio, so that
// is files, not pipes.
func (e *engine) run(ctx context.Context, args ...string) (time.Duration, error) {
	if err := e.stderr.Truncate(0); err != nil {
		return 0, err
	}
	c := exec.CommandContext(ctx, e.path, append([]string{"--root", filepath.Join(e.dir, "state")}, args...)...)
	c.Stderr, c.Env = e.stderr, e.env
	// A group of its own: Ctrl-C ends the benchmark, which then tidies up.
	c.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	started := time.Now()
	err := c.Run()
	took := time.Since(started)
	if err != nil {
		text, _ := io.ReadAll(io.NewSectionReader(e.stderr, 0, 4096))
		return 0, fmt.Errorf("%s: %w: %s", args[0], err, bytes.TrimSpace(text))
	}
	return took, nil
}

// round measures every operation once. It leaves no container.
func (e *engine) round(ctx context.Context, s samples) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer func() {
		if err != nil {
			// Also after an interruption, hence without it. Forced: fine with a container that is not there.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
			defer cancel()
			_, cleanup := e.run(ctx, "delete", "--force", e.id)
			if cleanup != nil {
				err = errors.Join(err, fmt.Errorf("remove the container: %w", cleanup))
			}
		}
		reap()
	}()
	pidFile := filepath.Join(e.dir, "pid")
	step := func(name string, args ...string) {
		if err == nil {
			var took time.Duration
			took, err = e.run(ctx, args...)
			s.add(name, e.name, took)
		}
	}
	step("run true", "run", "--bundle", e.bundle("true"), e.id)
	step("create", "create", "--bundle", e.bundle("idle"), "--pid-file", pidFile, e.id)
	step("start", "start", e.id)
	step("state", "state", e.id)
	step("exec true", "exec", e.id, "true")
	if err != nil {
		return err
	}
	if err := s.addMemory(e.name, e.cgroup()); err != nil {
		return err
	}
	process, err := readPID(pidFile)
	if err != nil {
		return err
	}
	step("kill", "kill", e.id, "KILL")
	if err == nil {
		err = process.Wait(ctx)
	}
	step("delete", "delete", e.id)
	return err
}

// readPID identifies the process whose id a pid file holds.
func readPID(file string) (pidfd.Process, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return pidfd.Process{}, err
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(data)))
	if err != nil {
		return pidfd.Process{}, fmt.Errorf("pid file: %w", err)
	}
	return pidfd.Find(pid)
}

// reap collects ended processes that became our children. Nothing else of ours runs meanwhile.
func reap() {
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
