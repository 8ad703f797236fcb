package vmm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// JailCommand is the hidden command of this program that builds the jail and becomes QEMU: the program must call
// JailMain when it is its first argument.
const JailCommand = "qemu-jail"

// Jail says what QEMU keeps of the host: its own libraries, firmware, kernel and initrd, read-only, and what is listed
// here. It runs in mount, PID, IPC and UTS namespaces of its own.
type Jail struct {
	UID, GID uint32 // whom QEMU runs as

	// KeepRoot leaves QEMU uid 0, with nothing but the capabilities that a 9p share with passthrough owners needs.
	KeepRoot bool

	Binds   []Bind
	Devices []string // device nodes to make, under their own paths, for UID alone
	// Memory, if not nil, is a file of which the jail gets a copy of its own, with the same holes, in a tmpfs at
	// MemoryPath, for Config.MemoryFile. It stays the caller's.
	Memory  *os.File `json:"-"`
	RootDir string   // an existing empty directory on which the jail mounts its root, invisible outside
}

// Bind is a file or directory of the host inside the jail. Without KeepRoot, UID needs permission on the source itself,
// but none on the directories that lead to it on the host.
type Bind struct {
	Source   string
	Target   string // absolute, in the jail
	ReadOnly bool
	Slave    bool // with what is mounted below, now and later; otherwise just the mount that Source is on
}

// stageConfig is what Start tells JailMain.
type stageConfig struct {
	Binary string
	Args   []string
	Files  int // number of inherited files, from descriptor 3
	Kernel string
	Initrd string
	Memory bool // one more inherited file, behind the report: Jail.Memory
	Jail   Jail
}

// MemoryPath is where the jail has its copy of Jail.Memory.
const MemoryPath = memoryDir + "/ram"

// Start runs QEMU confined, in the calling process's network namespace (that of the whole process, not of a locked
// thread). QEMU is killed when this process ends. Errors before QEMU takes over come back from here; an option that
// QEMU refuses ends the process, and Err has its message. The files of the configuration may be closed once Start
// returns.
func Start(c Config, binary string, jail Jail) (*Process, error) {
	args, files, err := c.Command()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("QEMU: %w: %w: %s", ErrNotFound, err, installQEMU)
	}
	config, err := stageFile(stageConfig{
		Binary: binary, Args: args, Files: len(files), Kernel: c.Kernel, Initrd: c.Initrd, Jail: jail,
		Memory: jail.Memory != nil,
	})
	if err != nil {
		return nil, err
	}
	defer config.Close()
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer report.Close()

	configFD := firstFD + len(files)
	cmd := exec.Command("/proc/self/exe", JailCommand, strconv.Itoa(configFD))
	cmd.Args[0] = "runvm"
	cmd.ExtraFiles = append(append(cmd.ExtraFiles, files...), config, reportEnd)
	if jail.Memory != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, jail.Memory)
	}
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
		Setsid:     true,
	}
	p, err := startProcess("QEMU", cmd, 0)
	_ = reportEnd.Close()
	if err != nil {
		return nil, err
	}
	if err := stageResult(report); err != nil {
		p.Kill()
		<-p.Done()
		return nil, err
	}
	return p, nil
}

// stageFile puts the stage's configuration into an anonymous file.
func stageFile(s stageConfig) (*os.File, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("QEMU's jail: %w", err)
	}
	fd, err := unix.MemfdCreate("qemu-jail", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("QEMU's jail: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "qemu-jail")
	if _, err := f.Write(text); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("QEMU's jail: %w", err)
	}
	return f, nil
}

// maxStageError bounds the stage's message.
const maxStageError = 8192

// stageResult waits until the stage has become QEMU, which closes the pipe, or has written why it could not.
func stageResult(report io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(report, maxStageError))
	if err != nil {
		return fmt.Errorf("QEMU's jail: %w", err)
	}
	if len(text) > 0 {
		return fmt.Errorf("QEMU's jail: %w", errors.New(strings.TrimSpace(string(text))))
	}
	return nil
}
