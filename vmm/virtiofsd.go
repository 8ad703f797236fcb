package vmm

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// VirtiofsdOptions describe the daemon of one virtiofs share.
type VirtiofsdOptions struct {
	Binary    string
	Rust      bool     // which of the two implementations Binary is
	SharedDir string   // what the guest sees, with everything mounted below it
	Socket    *os.File // listening Unix stream socket for QEMU; stays the caller's

	Cache string // "always", "auto" or "never" (also "none"); empty: "auto"
	// TimeoutSec bounds how long the guest may trust a name or an attribute, in seconds; 0: the daemon's own value. The
	// daemon in Rust has a fixed time for each mode, so "always" with a bound becomes "auto", which is one second there.
	TimeoutSec        int
	ThreadPool        int    // threads per queue; 0: requests are handled one by one
	XattrEnabled      bool   // extended attributes reach the host
	AnnounceSubmounts bool   // mounts below SharedDir are file systems of their own in the guest
	RlimitNofile      uint64 // open files; 0: this process's hard limit, a million at most
}

// noSetuidFixup is SECBIT_NO_SETUID_FIXUP of linux/securebits.h, capabilities(7). The daemon makes new files with the
// effective uid of whoever makes them in the guest; with it the daemon keeps its capabilities then. What the guest's
// process may do has been decided by the guest's kernel, CAP_DAC_OVERRIDE included, so the host's must not decide again
// by that uid. The daemon in Rust keeps CAP_DAC_OVERRIDE by itself.
const noSetuidFixup = 1 << 2

// virtiofsdSocketFD is where the daemon inherits its socket.
const virtiofsdSocketFD = firstFD

// Args returns the daemon's arguments, without the program's name. Errors wrap ErrInvalidConfig.
func (o VirtiofsdOptions) Args() ([]string, error) {
	switch {
	case !slices.Contains([]string{"", "always", "auto", "never", "none"}, o.Cache):
		return nil, invalid("virtiofs cache %q: want \"always\", \"auto\" or \"never\"", o.Cache)
	case o.TimeoutSec < 0:
		return nil, invalid("virtiofs cache timeout of %d seconds: want 0 or more", o.TimeoutSec)
	case o.ThreadPool < 0:
		return nil, invalid("virtiofs thread pool of %d threads: want 0 or more", o.ThreadPool)
	case o.SharedDir == "":
		return nil, invalid("virtiofs without a shared directory")
	}
	switch o.Cache {
	case "":
		o.Cache = "auto"
	case "none":
		o.Cache = "never"
	}
	if o.Rust {
		return o.rustArgs(), nil
	}
	return o.cArgs(), nil
}

// rlimit is the daemon's option that leaves the limit alone if it is 0. Unasked the daemon would ask for a million
// files, and end where that exceeds the hard limit and CAP_SYS_RESOURCE is missing.
func (o VirtiofsdOptions) rlimit() string {
	return "--rlimit-nofile=" + strconv.FormatUint(o.RlimitNofile, 10)
}

// cArgs are for the daemon that came with QEMU until 8.0.
func (o VirtiofsdOptions) cArgs() []string {
	cache := o.Cache
	if cache == "never" {
		cache = "none"
	}
	args := []string{
		"--fd=" + strconv.Itoa(virtiofsdSocketFD), o.rlimit(), "--thread-pool-size=" + strconv.Itoa(o.ThreadPool),
		"-o", "source=" + escapeFUSE(o.SharedDir), "-o", "sandbox=namespace", "-o", "cache=" + cache,
	}
	if o.TimeoutSec > 0 {
		args = append(args, "-o", "timeout="+strconv.Itoa(o.TimeoutSec))
	}
	if o.XattrEnabled {
		args = append(args, "-o", "xattr")
	} else {
		args = append(args, "-o", "no_xattr")
	}
	if o.AnnounceSubmounts {
		args = append(args, "-o", "announce_submounts")
	}
	return append(args, "-o", "log_level=warn")
}

// escapeFUSE protects the commas of a value of "-o", fuse_opt_add_opt_escaped in libfuse.
func escapeFUSE(value string) string { return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(value) }

// rustArgs are for the daemon of gitlab.com/virtio-fs/virtiofsd.
func (o VirtiofsdOptions) rustArgs() []string {
	cache := o.Cache
	if cache == "always" && o.TimeoutSec > 0 {
		cache = "auto"
	}
	args := []string{
		"--fd=" + strconv.Itoa(virtiofsdSocketFD), o.rlimit(), "--thread-pool-size=" + strconv.Itoa(o.ThreadPool),
		"--shared-dir=" + o.SharedDir, "--sandbox=namespace", "--cache=" + cache,
	}
	if o.XattrEnabled {
		args = append(args, "--xattr")
	}
	if o.AnnounceSubmounts {
		args = append(args, "--announce-submounts")
	}
	return append(args, "--log-level=warn")
}

// StartVirtiofsd starts the daemon. It serves one connection on the socket and ends with it, or with this process. It
// copies this process's mount namespace as a slave, so mounts made later below SharedDir reach it if that is shared. It
// runs in a PID namespace of its own, so that nothing it forked is left when it has ended.
func StartVirtiofsd(o VirtiofsdOptions) (*Process, error) {
	if o.Socket == nil {
		return nil, invalid("virtiofs without a socket")
	}
	if o.RlimitNofile == 0 {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return nil, os.NewSyscallError("getrlimit", err)
		}
		o.RlimitNofile = min(limit.Max, 1e6)
	}
	args, err := o.Args()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(o.Binary, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{o.Socket}
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL, Setsid: true}
	p, err := startProcess("virtiofsd", cmd, noSetuidFixup)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(ErrNotFound, err)
	}
	return p, err
}
