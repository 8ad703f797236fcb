// Package container is the model of a container on the host: its id, its record on disk, its status, and the store that
// holds them. It starts no process and talks to none: a status is the record plus whether the shim is alive.
package container

import (
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runvm/runvm/internal/pidfd"
)

// Status is a container's state in the words of the runtime specification, plus runc's "paused".
type Status string

// The states of a container.
const (
	Creating Status = "creating"
	Created  Status = "created"
	Running  Status = "running"
	Paused   Status = "paused"
	Stopped  Status = "stopped"
)

// Record is what is known of a container, as state.json holds it. Every field is saved.
type Record struct {
	Version  string    `json:"ociVersion"` // of the bundle's config.json
	ID       string    `json:"id"`
	Bundle   string    `json:"bundle"` // absolute
	Rootfs   string    `json:"rootfs"` // absolute
	Created  time.Time `json:"created"`
	Terminal bool      `json:"terminal,omitempty"`

	Annotations map[string]string `json:"annotations,omitempty"`

	// Creator is the create command while it is at work; a record whose creator is gone and that has no shim is
	// what a killed create left behind.
	Creator pidfd.Process `json:"creator,omitzero"`
	// Shim is the process whose pid the container has on the host; zero until create has started it.
	Shim pidfd.Process `json:"shim,omitzero"`
	// Sandbox names the sandbox that the container is a member of, see Store.Sandbox; empty until create has chosen one.
	Sandbox string `json:"sandbox,omitempty"`
	// Ready says that create came to its end.
	Ready bool `json:"ready,omitempty"`
	// Started says that the start command let the user's program run.
	Started bool `json:"started,omitempty"`
	// Readiness says that the start command is to wait for the container's word that it is ready, if asked.
	Readiness bool `json:"readiness,omitempty"`
	// Frozen says that the container is paused.
	Frozen bool `json:"frozen,omitempty"`

	// Cgroup locates the container's cgroup on the host.
	Cgroup CgroupRef `json:"cgroup"`
	// Limits are the limits on the host without what is added for the VM, as config.json and later updates set them.
	Limits *specs.LinuxResources `json:"limits,omitempty"`
}

// CgroupRef is what it takes to find a container's host cgroup again.
type CgroupRef struct {
	Path    string            `json:"path"`            // cgroupsPath of the bundle; may be empty
	Systemd bool              `json:"systemd"`         // made through systemd
	Paths   map[string]string `json:"paths,omitempty"` // controller ("" on cgroup v2) to absolute directory
}

// Status computes the container's state. It changes nothing and asks no other process.
func (r *Record) Status() Status {
	switch {
	case !r.Ready && r.Creator.Alive():
		return Creating
	case !r.Ready, !r.Shim.Alive():
		return Stopped
	case !r.Started:
		return Created
	case r.Frozen:
		return Paused
	default:
		return Running
	}
}
