// Package create is runc's create: it makes a container up to, not including, the start of the user's program. For
// runvm that is a virtual machine with the container's process waiting in it, and a shim on the host whose pid stands
// for that process.
package create

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/cgroup"
	"github.com/runvm/runvm/config"
	"github.com/runvm/runvm/console"
	"github.com/runvm/runvm/container"
	"github.com/runvm/runvm/globals"
	"github.com/runvm/runvm/hooks"
	"github.com/runvm/runvm/internal/atomicfile"
	"github.com/runvm/runvm/internal/pidfd"
	"github.com/runvm/runvm/internal/undo"
	"github.com/runvm/runvm/monitor"
	"github.com/runvm/runvm/passfd"
	"github.com/runvm/runvm/pod"
	"github.com/runvm/runvm/sdnotify"
	"github.com/runvm/runvm/shim"
)

// guestTimeout bounds what a booted guest may take to make the container: it may be hostile, and the container's lock is
// held meanwhile.
const guestTimeout = 2 * time.Minute

// Options are the flags of create, and of run where they agree.
type Options struct {
	ID            string
	Bundle        string // empty: the current directory
	PidFile       string
	ConsoleSocket string
	PidfdSocket   string
	NoPivot       bool
	NoNewKeyring  bool
	PreserveFDs   int
	Attached      bool // run without --detach: the caller stays, and a terminal is the caller's own
}

// Result is a container that was made.
type Result struct {
	Container *container.Container
	Shim      *shim.Process // a child of this process
	Console   *console.Pair // with Attached and a terminal; the caller relays and closes it
}

// creation is one create under way.
type creation struct {
	Options
	globals *globals.Globals
	config  config.Config
	bundle  *bundle.Bundle
	plan    *bundle.Plan
	tools   tools
	nodes   []string     // of the plan's disks on the host
	files   passfd.Files // for the container's process

	kind       bundle.Kind // by the annotations, with sandboxRef
	sandboxRef string
	shareDir   string // the container's directory in the sandbox's share: a new name, of which no guest remembers anything
	network    string // identifies the network namespace at plan.NetNS.Path

	container *container.Container
	place     *pod.Place
	// namespaces that the container does not share with the guest's own system, kind to what identifies the shim's.
	namespaces map[string]string
	shim       *shim.Process
	cgroup     *cgroup.Cgroup
	monitor    *monitor.Process
	console    *console.Pair
	pidfd      *pidfd.Socket // who wants a pidfd of the shim

	makeTemplate func() // for the next container; nil: there is one, or there shall be none
}

// Run makes a container, or leaves nothing behind.
func Run(ctx context.Context, g *globals.Globals, o Options) (_ *Result, err error) {
	var u undo.Stack
	defer u.Run(&err)
	c := &creation{Options: o, globals: g}
	defer func() { _ = c.pidfd.Close() }()
	if err = c.prepare(); err != nil {
		return nil, err
	}

	if c.container, err = g.Store().Create(o.ID); err != nil {
		return nil, err
	}
	u.Push(c.container.Remove)
	unlock, err := c.container.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err = c.claim(); err != nil {
		return nil, err
	}
	u.Push(c.leaveSandbox)
	if err = c.findSandbox(ctx); err != nil {
		return nil, err
	}

	u.Push(c.destroyCgroup)
	u.Push(c.closeConsole)
	u.Push(c.killShim)
	if err = c.startShim(ctx); err != nil {
		return nil, err
	}
	if err = c.makeCgroup(); err != nil {
		return nil, err
	}
	if err = c.makeView(); err != nil {
		return nil, err
	}
	if err = c.runHooks(hooks.Prestart, hooks.CreateRuntime); err != nil {
		return nil, err
	}

	u.Push(c.killMonitor)
	if err = c.bootSandbox(ctx); err != nil {
		return nil, err
	}
	u.Push(c.closeHold)
	if err = c.share(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, guestTimeout)
	defer cancel()
	if err = c.createInGuest(ctx); err != nil {
		return nil, err
	}
	if err = c.attachShim(ctx); err != nil {
		return nil, err
	}
	// First of all when something fails now: the monitor ends when its last container does.
	u.Push(c.killShim)
	if err = c.finish(); err != nil {
		return nil, err
	}
	u.Release()
	if c.makeTemplate != nil {
		c.makeTemplate()
	}
	return &Result{Container: c.container, Shim: c.shim, Console: c.console}, nil
}

// prepare checks everything that can be checked before anything is made.
func (c *creation) prepare() (err error) {
	if os.Geteuid() != 0 {
		return errors.New("runvm must be run as root: rootless containers are not supported yet")
	}
	if err = bundle.ValidateID(c.ID); err != nil {
		return err
	}
	if c.Bundle == "" {
		c.Bundle = "."
	}
	if c.bundle, err = bundle.Load(c.Bundle); err != nil {
		return err
	}
	if err = c.bundle.Validate(); err != nil {
		return err
	}
	if err = c.checkTerminal(); err != nil {
		return err
	}
	if err = c.findFiles(); err != nil {
		return err
	}
	c.kind, c.sandboxRef = bundle.SandboxRef(c.bundle.Spec.Annotations, c.ID)
	c.shareDir = rand.Text()
	c.bundle.Readiness = os.Getenv(sdnotify.Variable) != ""
	c.plan, err = c.bundle.Plan(bundle.GuestDirs{
		Share: filepath.Join(agentproto.SharedDir, c.shareDir), SharedMemory: agentproto.SharedMemoryDir,
		Notify: filepath.Join(agentproto.NotifyDir, c.ID),
	})
	if err != nil {
		return err
	}
	if err = c.findDisks(); err != nil {
		return err
	}
	c.shareFiles()
	if err = c.checkHostNetwork(); err != nil {
		return err
	}
	if c.pidfd, err = pidfd.DialSocket(c.PidfdSocket); err != nil {
		return err
	}
	if c.config, err = c.globals.Config(); err != nil {
		return err
	}
	c.tools, err = findTools(c.config)
	if err != nil {
		return err
	}
	// Without a log file the log is stderr, which is the container's: engines would show the warnings as its output.
	if c.globals.LogsToFile() {
		for _, w := range append(c.plan.Warnings, c.tools.warnings...) {
			c.globals.Logger.Warn(w)
		}
	}
	return nil
}

func (c *creation) checkTerminal() error {
	terminal := c.bundle.Spec.Process.Terminal
	if !c.Attached && terminal && c.ConsoleSocket == "" {
		return errors.New("cannot allocate tty if runvm will detach without setting console socket")
	}
	if (c.Attached || !terminal) && c.ConsoleSocket != "" {
		return errors.New("cannot use console socket if runvm will not detach or allocate tty")
	}
	return nil
}

// WritePidFile writes a pid in decimal, atomically; an empty path is no file.
func WritePidFile(path string, pid int) error {
	if path == "" {
		return nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(path, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return nil
}
