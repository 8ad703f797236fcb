// Package executor makes containers inside the guest. It is the only package that knows libcontainer, so that another
// executor could take its place.
package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"

	_ "github.com/opencontainers/cgroups/devices"    // device rules of cgroups
	_ "github.com/runvm/runvm/agent/executor/reexec" // what libcontainer starts is this program
	"github.com/runvm/runvm/agent/process"
	"github.com/runvm/runvm/agent/reaper"
	"github.com/runvm/runvm/agentproto"
)

// Errors of this package. Others are libcontainer's, with the texts that runc prints.
var (
	ErrExist      = libcontainer.ErrExist
	ErrNotRunning = libcontainer.ErrNotRunning
	ErrInvalid    = errors.New("invalid request")
	ErrState      = errors.New("wrong state")
)

// Executor makes containers.
type Executor struct {
	stateDir string
	reaper   *reaper.Reaper
	slots    chan struct{} // bounds the starts under way: each needs several MiB until it execs
}

// New returns an executor that keeps its files in stateDir. Somebody runs r if orphans become children of this process.
func New(stateDir string, r *reaper.Reaper) *Executor {
	return &Executor{stateDir: stateDir, reaper: r, slots: make(chan struct{}, max(4, 2*runtime.NumCPU()))}
}

// CreateOptions is what a container is made of.
type CreateOptions struct {
	ID                    string
	Spec                  []byte // OCI config.json whose paths are the guest's
	NoPivot, NoNewKeyring bool
	Namespaces            map[string]string // to join, names in /proc/PID/ns to paths; the spec has them as new ones
	Disks                 []Disk            // block devices that the spec names as the host knows them
	Size                  *process.Size     // of the terminal; nil for the spec's
	Files                 []*agentproto.PassedFile
	NotifySocket          string       // name of the socket for sd_notify(3); empty for none
	Sync                  func() error // called when init has ended, before anybody learns of it; may be nil
}

// Create makes a container and its init process up to the exec of the user's program. The error's text is the one that
// runc prints after "runc create failed: ".
func (e *Executor) Create(o CreateOptions) (*Container, error) {
	var spec specs.Spec
	if err := json.Unmarshal(o.Spec, &spec); err != nil {
		return nil, fmt.Errorf("%w: config.json: %w", ErrInvalid, err)
	}
	if err := prepare(&spec, o.ID); err != nil {
		return nil, err
	}
	if err := translateDisks(&spec, o.Disks); err != nil {
		return nil, err
	}
	if err := join(&spec, o.Namespaces); err != nil {
		return nil, err
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName: o.ID, NoPivotRoot: o.NoPivot, NoNewKeyring: o.NoNewKeyring, Spec: &spec,
	})
	if err != nil {
		return nil, err
	}
	lc, err := libcontainer.Create(e.stateDir, o.ID, config)
	if err != nil {
		return nil, err
	}
	state, err := lc.State()
	if err != nil {
		return nil, err
	}
	c := &Container{
		id: o.ID, share: filepath.Dir(spec.Root.Path), e: e, lc: lc, cgroup: state.CgroupPaths[""], sync: o.Sync, deleted: make(chan struct{}),
	}
	if c.notify, err = newNotify(o.ID, o.NotifySocket); err != nil {
		_ = lc.Destroy()
		return nil, err
	}
	if err := c.startInit(spec.Process, o.Size, o.Files); err != nil {
		c.notify.remove()
		_ = lc.Destroy() // its own failure would only hide why
		return nil, err
	}
	return c, nil
}
