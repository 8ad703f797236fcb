// Package passfd is about the descriptors that a caller hands to a container's process besides its stdio (--preserve-fds,
// LISTEN_FDS). A descriptor cannot cross into a virtual machine; what flows through it can. FromCaller and Preserved find
// out which kind each is and refuse those that have no true stand-in; Open connects one to the client.
package passfd

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/runvm/runvm/agentproto"
)

// first is the number of the first descriptor beyond stdio.
const first = 3

// File is a descriptor to be passed.
type File struct {
	File        *os.File
	Description *agentproto.PassedFile
	// Path is a regular file's on the host: the guest needs a share of it, and its path there in Description.
	Path string
}

// Files are the descriptors of one process, in the order in which it numbers them from 3 on.
type Files []File

// FromCaller takes the descriptors of socket activation (sd_listen_fds(3)), whose count is the second result, and
// preserve more. They must be among the inherited ones: others are this program's own. Nothing is closed or changed by a
// refusal.
func FromCaller(preserve int, inherited []int) (Files, int, error) {
	activated := activation()
	files, err := collect(activated, preserve, inherited)
	return files, activated, err
}

// Preserved takes preserve inherited descriptors from 3 on, for a process in a container that runs already: the share of that does
// not grow, so regular files are refused.
func Preserved(preserve int, inherited []int) (Files, error) {
	files, err := collect(0, preserve, inherited)
	for i, f := range files {
		if f.Path != "" {
			return nil, fmt.Errorf("file descriptor %d is a regular file, which cannot be passed to a process of exec: "+
				"pass a pipe, as with \"cat %s |\", or a volume", first+i, f.Path)
		}
	}
	return files, err
}

// activation is the number of sockets that were passed to this very process.
func activation() int {
	pid, err := strconv.Atoi(os.Getenv("LISTEN_PID"))
	if err != nil || pid != os.Getpid() {
		return 0
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func collect(activated, preserve int, inherited []int) (Files, error) {
	if preserve < 0 {
		return nil, fmt.Errorf("--preserve-fds %d: want a number from 0 on", preserve)
	}
	if activated > agentproto.MaxPassedFiles || preserve > agentproto.MaxPassedFiles-activated { // their sum may overflow
		return nil, fmt.Errorf("LISTEN_FDS=%d and --preserve-fds %d: at most %d file descriptors can be passed into a virtual machine",
			activated, preserve, agentproto.MaxPassedFiles)
	}
	for fd := first; fd < first+activated+preserve; fd++ {
		if _, ok := slices.BinarySearch(inherited, fd); !ok {
			return nil, fmt.Errorf("unable to stat preserved-fd %d (of %d): file descriptor %d is not open: %w",
				fd-first-activated, preserve, fd, unix.EBADF)
		}
	}
	var files Files
	for fd := first; fd < first+activated+preserve; fd++ {
		description, err := describe(fd)
		if err != nil {
			return nil, err
		}
		path := ""
		if description.GetKind() == agentproto.PassedFile_FILE {
			if path, err = pathOf(fd); err != nil {
				return nil, err
			}
		}
		files = append(files, File{os.NewFile(uintptr(fd), "passed "+strconv.Itoa(fd)), description, path})
	}
	return files, nil
}

// OSFiles are the descriptors themselves.
func (f Files) OSFiles() []*os.File {
	var out []*os.File
	for _, one := range f {
		out = append(out, one.File)
	}
	return out
}

// Descriptions are what the agent is told.
func (f Files) Descriptions() []*agentproto.PassedFile {
	var out []*agentproto.PassedFile
	for _, one := range f {
		out = append(out, one.Description)
	}
	return out
}

// Kinds are what the shim is told.
func (f Files) Kinds() []agentproto.PassedFile_Kind {
	var out []agentproto.PassedFile_Kind
	for _, one := range f {
		out = append(out, one.Description.GetKind())
	}
	return out
}

// Close closes this process's copies: the last writer of a pipe must not be a command that only waits.
func (f Files) Close() {
	for _, one := range f {
		_ = one.File.Close()
	}
}

// describe finds out what a descriptor is.
func describe(fd int) (*agentproto.PassedFile, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("file descriptor %d, which is to be passed, is not open: %w", fd, err)
	}
	var d *agentproto.PassedFile
	what := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		d, what = describePipe(fd)
	case unix.S_IFSOCK:
		d, what = describeSocket(fd)
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && d != nil {
			d.Nonblock = flags&unix.O_NONBLOCK != 0
		}
	case unix.S_IFCHR:
		d, what = describeDevice(fd, st.Rdev)
	case unix.S_IFREG:
		d, what = describeFile(fd, st.Nlink)
	case unix.S_IFDIR:
		what = "a directory"
	case unix.S_IFBLK:
		what = "a block device"
	default:
		what, _ = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	}
	if d == nil {
		return nil, fmt.Errorf("file descriptor %d is %s, which cannot be passed into a virtual machine: "+
			"only pipes, files, connected or listening stream sockets and devices such as /dev/null can", fd, what)
	}
	return d, nil
}

func accessMode(fd int) int {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return -1
	}
	return flags & unix.O_ACCMODE
}

// kernelFiles are file systems whose files have no size, so that the guest would take them for empty.
var kernelFiles = []int64{unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC}

func describeFile(fd int, links uint64) (*agentproto.PassedFile, string) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || links == 0 || flags&unix.O_PATH != 0 {
		return nil, "a regular file without a name"
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || slices.Contains(kernelFiles, int64(fs.Type)) {
		return nil, "a file of the kernel's (procfs, sysfs)"
	}
	offset, err := unix.Seek(fd, 0, unix.SEEK_CUR)
	if err != nil {
		return nil, "a file without a position"
	}
	return &agentproto.PassedFile{
		Kind: agentproto.PassedFile_FILE, OpenFlags: uint32(flags & (unix.O_ACCMODE | unix.O_APPEND)), Offset: offset,
	}, ""
}

// ReadOnly says that a file was opened for reading only.
func (f File) ReadOnly() bool { return f.Description.GetOpenFlags()&unix.O_ACCMODE == unix.O_RDONLY }

// pathOf finds a regular file by its name, and makes sure that it still is that file.
func pathOf(fd int) (string, error) {
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	var open, named unix.Stat_t
	if err := unix.Fstat(fd, &open); err != nil {
		return "", os.NewSyscallError("fstat", err)
	}
	if err := unix.Lstat(path, &named); err != nil || named.Dev != open.Dev || named.Ino != open.Ino {
		return "", fmt.Errorf("file descriptor %d is a regular file that is no longer at %s: it cannot be passed into a "+
			"virtual machine", fd, path)
	}
	return path, nil
}

func describePipe(fd int) (*agentproto.PassedFile, string) {
	switch accessMode(fd) {
	case unix.O_RDONLY:
		return &agentproto.PassedFile{Kind: agentproto.PassedFile_PIPE_READER}, ""
	case unix.O_WRONLY:
		return &agentproto.PassedFile{Kind: agentproto.PassedFile_PIPE_WRITER}, ""
	default:
		return nil, "a fifo that is open for reading and writing"
	}
}

func describeSocket(fd int) (*agentproto.PassedFile, string) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return nil, "a socket that is no stream socket"
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, "a socket of an unknown family"
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err == nil && listens != 0 {
		return describeListener(domain)
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return nil, "a stream socket that is neither connected nor listening"
	}
	return &agentproto.PassedFile{Kind: agentproto.PassedFile_STREAM}, ""
}

func describeListener(domain int) (*agentproto.PassedFile, string) {
	kinds := map[int]agentproto.PassedFile_Kind{
		unix.AF_UNIX:  agentproto.PassedFile_LISTENER_UNIX,
		unix.AF_INET:  agentproto.PassedFile_LISTENER_IPV4,
		unix.AF_INET6: agentproto.PassedFile_LISTENER_IPV6,
	}
	kind, ok := kinds[domain]
	if !ok {
		return nil, fmt.Sprintf("a listening socket of family %d", domain)
	}
	return &agentproto.PassedFile{Kind: kind}, ""
}

// describeDevice knows the devices that are the same in every kernel (Documentation/admin-guide/devices.txt, major 1).
func describeDevice(fd int, rdev uint64) (*agentproto.PassedFile, string) {
	names := map[uint32]string{3: "null", 5: "zero", 7: "full", 8: "random", 9: "urandom"}
	mode := accessMode(fd)
	name, ok := names[unix.Minor(rdev)]
	if unix.Major(rdev) != 1 || !ok || mode < 0 {
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			return nil, "a terminal"
		}
		return nil, fmt.Sprintf("character device %d:%d", unix.Major(rdev), unix.Minor(rdev))
	}
	return &agentproto.PassedFile{Kind: agentproto.PassedFile_DEVICE, Device: name, OpenFlags: uint32(mode)}, ""
}
