package container

import "path/filepath"

// Every name that the directories of a container, <root>/<id>, and of a sandbox, <root>/,sandboxes/<name>, can hold.
// docs/state-directory.md describes them.
const (
	recordFile    = "state.json"
	sandboxFile   = "sandbox.json"
	monitorSocket = "monitor.sock"
	agentSocket   = "agent.sock"
	sharedDir     = "shared"
	jailDir       = "jail"
	vmDir         = "vm"
	shareSocket   = "fs.sock"
	qmpSocket     = "qmp.sock"
)

// Dir is a container's directory and knows the names in it. The directory is 0700, its files 0600.
type Dir string

// Record is the file with the container's Record.
func (d Dir) Record() string { return filepath.Join(string(d), recordFile) }

// SandboxDir is a sandbox's directory and knows the names in it. The directory is 0700, its files 0600.
type SandboxDir string

// Record is the file with the sandbox's SandboxRecord.
func (d SandboxDir) Record() string { return filepath.Join(string(d), sandboxFile) }

// Shared is where the monitor builds the tree that virtiofsd shows the guest. Outside the monitor's mount namespace it
// is an empty directory.
func (d SandboxDir) Shared() string { return filepath.Join(string(d), sharedDir) }

// Jail is the directory that QEMU's private root is mounted on. Outside QEMU's mount namespace it is empty.
func (d SandboxDir) Jail() string { return filepath.Join(string(d), jailDir) }

// VM is the directory that QEMU sees in its jail; it holds the sockets that QEMU itself opens.
func (d SandboxDir) VM() string { return filepath.Join(string(d), vmDir) }

// MonitorSocket is the name of the monitor's request socket in the directory.
func (d SandboxDir) MonitorSocket() string { return monitorSocket }

// AgentSocket is the name of the socket in the directory that leads to the guest's agent.
func (d SandboxDir) AgentSocket() string { return agentSocket }

// ShareSocket is the name of virtiofsd's socket in VM.
func (d SandboxDir) ShareSocket() string { return shareSocket }

// QMPSocket is the name of QEMU's monitor socket in VM.
func (d SandboxDir) QMPSocket() string { return qmpSocket }
