//go:build privileged

package vmm

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	testQEMU = "/usr/bin/qemu-system-x86_64"
	testUID  = 0x78100000
)

// guestProgram writes "U" to the first serial port and halts for good.
var guestProgram = []byte{
	0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
	0xb0, 'U', // mov al, 'U'
	0xee,       // out dx, al
	0xfa, 0xf4, // cli; hlt
	0xeb, 0xfd, // jmp to the hlt
}

// writeGuest makes a kernel in the format that QEMU starts through PVH: an ELF file with a note that holds the entry.
func writeGuest(t *testing.T, path string) {
	t.Helper()
	const base, header, program = 0x100000, 64, 56
	noteAt := uint64(header + 2*program)
	note := new(bytes.Buffer)
	codeAt := noteAt + 20
	for _, v := range []any{uint32(4), uint32(4), uint32(18), [4]byte{'X', 'e', 'n', 0}, uint32(base + codeAt)} {
		_ = binary.Write(note, binary.LittleEndian, v)
	}
	size := codeAt + uint64(len(guestProgram))
	var elf bytes.Buffer
	for _, v := range []any{
		[16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1},
		uint16(2), uint16(62), uint32(1), base + codeAt, uint64(header), uint64(0), uint32(0),
		uint16(header), uint16(program), uint16(2), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(7), uint64(0), uint64(base), uint64(base), size, size, uint64(4096), // PT_LOAD
		uint32(4), uint32(4), noteAt, base + noteAt, base + noteAt, uint64(20), uint64(20), uint64(4), // PT_NOTE
		note.Bytes(), guestProgram,
	} {
		if err := binary.Write(&elf, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, elf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// testVM is a directory with what a machine needs.
type testVM struct {
	dir     string // passed into the jail as /vm
	config  Config
	jail    Jail
	console net.Conn // the host's end
}

func newTestVM(t *testing.T) *testVM {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"root", "vm"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	kernel := filepath.Join(dir, "kernel, with=comma")
	writeGuest(t, kernel)
	v := &testVM{dir: filepath.Join(dir, "vm")}
	v.jail = Jail{
		UID: testUID, GID: testUID, RootDir: filepath.Join(dir, "root"),
		Binds:   []Bind{{Source: v.dir, Target: "/vm", ReadOnly: true}},
		Devices: []string{"/dev/null", "/dev/urandom"},
	}
	v.config = Config{
		Name: "test, name=1", Accel: TCG, CPUs: 1, MemoryMiB: 64, SharedMemory: true, TBSizeMiB: 16,
		Kernel: kernel, HotplugPorts: 4, QMP: listenFile(t, filepath.Join(v.dir, "qmp.sock")),
	}
	v.console, v.config.Console = socketPair(t)
	return v
}

// start starts the machine and ends it with the test.
func (v *testVM) start(t *testing.T) *Process {
	t.Helper()
	p, err := Start(v.config, testQEMU, v.jail)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		<-p.Done()
	})
	return p
}

// booted waits until the guest's program runs.
func (v *testVM) booted(t *testing.T, p *Process) {
	t.Helper()
	_ = v.console.SetReadDeadline(time.Now().Add(20 * time.Second))
	var seen []byte
	buf := make([]byte, 256)
	for !bytes.HasSuffix(seen, []byte("U")) {
		n, err := v.console.Read(buf)
		if err != nil {
			p.Kill()
			t.Fatalf("console: %v after %q; %v", err, seen, p.Err())
		}
		seen = append(seen, buf[:n]...)
	}
}

func listenFile(t *testing.T, path string) *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func socketPair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	host := os.NewFile(uintptr(fds[0]), "host")
	defer host.Close()
	conn, err := net.FileConn(host)
	if err != nil {
		t.Fatal(err)
	}
	guest := os.NewFile(uintptr(fds[1]), "guest")
	t.Cleanup(func() { _, _ = conn.Close(), guest.Close() })
	return conn, guest
}
