package bundle

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Plan is how a bundle becomes a container in a guest.
type Plan struct {
	// Guest is the configuration for the agent: all paths are the guest's.
	Guest *specs.Spec
	// Rootfs is the container's root; the guest sees it as <share>/rootfs.
	Rootfs Share
	// Shares are the bind mounts, in config.json's order; the guest sees each as <share>/mounts/<Index>.
	Shares []Share
	// Mountpoints must exist before something is mounted there; see MakeMountpoints.
	Mountpoints []Mountpoint
	// Disks are the block devices that the guest gets.
	Disks []Disk `json:",omitempty"`
	NetNS NetNS
	// Join are the namespaces of other containers that the container shares, type to path on the host: IPC, PID, user, UTS.
	// The guest's spec has them as new ones.
	Join map[specs.LinuxNamespaceType]string
	// SharedMemory are tmpfs in the guest that containers have together; the guest's spec binds them.
	SharedMemory []SharedMemory
	// GuestSysctls are for the guest's own namespaces, name to value.
	GuestSysctls map[string]string
	// HostHooks run on the host: prestart, createRuntime, poststart, poststop.
	HostHooks specs.Hooks
	Notify    Notify `json:",omitzero"`
	Sizing    Sizing
	// Warnings are for the log.
	Warnings []string
}

// Share is a host directory or file that the guest gets to see.
type Share struct {
	Index             int
	Source            string // absolute, on the host
	Destination       string // absolute, in the container
	Dir               bool
	ReadOnly          bool
	Recursive         bool // with the mounts below the source
	RecursiveReadOnly bool // the mounts below are read-only, too
	// Hidden says that the destination is below a mount that only the guest has, such as a tmpfs: it does not exist
	// in a view of the container's root on the host.
	Hidden bool
}

// SharedMemory is a tmpfs that engines make on the host for one container or for a pod. The guest has one of its own in
// its stead, at <shared memory base>/<ID>.
type SharedMemory struct {
	ID   string // identifies the host's as long as it is mounted; safe as a file name
	Size uint64 // bytes; 0 for no limit
}

// GuestDirs says where the guest keeps what its containers get.
type GuestDirs struct {
	Share        string // the container's directory in the share
	SharedMemory string // base of the shared memory of all containers
	Notify       string // the container's directory for its notify socket; empty: it gets none
}

// Mountpoint is a place in the container's root, or in a directory shared with it, on which something will be mounted.
type Mountpoint struct {
	Path     string // clean, absolute seen from the container's root or from Volume
	Dir      bool   // otherwise a file
	Volume   string `json:",omitempty"` // source of the share that the place is in; empty for the container's root
	ReadOnly bool   `json:",omitempty"` // the share is read-only: the place must exist already
}

// planner holds a Plan in the making.
type planner struct {
	bundle    *Bundle
	guest     GuestDirs
	plan      *Plan
	placed    []placement // the mounts so far
	anyDevice bool        // the container may use all devices: --privileged
}

// Plan decides how the container runs in a guest that has its things in the given directories. The bundle is valid.
// Errors are ErrNotSupported where the configuration asks for something that a virtual machine does not get.
func (b *Bundle) Plan(dirs GuestDirs) (*Plan, error) {
	guest, err := clone(b.Spec)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Guest: guest, Join: map[specs.LinuxNamespaceType]string{}}
	p := &planner{bundle: b, guest: dirs, plan: plan}
	p.anyDevice = allowsAllDevices(b.Spec.Linux.Resources)
	p.planRoot()
	steps := []func() error{p.refuse, p.planNamespaces, p.planSystemd, p.planMounts, p.planDevices, p.planHooks}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	p.planReadiness()
	p.planSysctls()
	p.planResources()
	p.dropLabels()
	return p.plan, nil
}

// clone makes a deep copy.
func clone(s *specs.Spec) (*specs.Spec, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("copy the configuration: %w", err)
	}
	var c specs.Spec
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("copy the configuration: %w", err)
	}
	return &c, nil
}

func (p *planner) planRoot() {
	root := p.bundle.Spec.Root
	p.plan.Rootfs = Share{
		Source: p.bundle.Rootfs(), Destination: "/", Dir: true, Recursive: true, ReadOnly: root.Readonly,
	}
	p.plan.Guest.Root.Path = filepath.Join(p.guest.Share, "rootfs")
}

// shareSource is where the guest sees a share.
func (p *planner) shareSource(index int) string {
	return filepath.Join(p.guest.Share, "mounts", strconv.Itoa(index))
}

func (p *planner) warnf(format string, args ...any) {
	p.plan.Warnings = append(p.plan.Warnings, fmt.Sprintf(format, args...))
}

// refuse names the sections that mean something on the host's hardware only.
func (p *planner) refuse() error {
	l := p.plan.Guest.Linux
	switch {
	case l.IntelRdt != nil:
		return unsupportedf("linux.intelRdt is not supported yet: leave it out of %s", configName)
	case len(l.NetDevices) > 0:
		return unsupportedf("linux.netDevices is not supported yet: move the interface into the container's network " +
			"namespace before the container is created")
	case l.Seccomp != nil && l.Seccomp.ListenerPath != "":
		return unsupportedf("linux.seccomp.listenerPath %s is not supported: a seccomp listener on the host cannot "+
			"serve processes in a virtual machine", l.Seccomp.ListenerPath)
	}
	return nil
}

// dropLabels takes out what names policies of the host's kernel and the container's place in the host's cgroups. The
// guest has neither; the workload is confined by the virtual machine's border.
func (p *planner) dropLabels() {
	g := p.plan.Guest
	g.Process = GuestProcess(g.Process)
	g.Linux.MountLabel = ""
	g.Linux.CgroupsPath = ""
}

// GuestProcess returns a process as the guest shall run it: without the labels of the host's security modules.
func GuestProcess(p *specs.Process) *specs.Process {
	guest := *p
	guest.ApparmorProfile, guest.SelinuxLabel = "", ""
	return &guest
}
