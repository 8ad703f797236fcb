package template

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what a template depends on.
type Machine struct {
	Args  []string // of QEMU
	Files []string // QEMU, kernel, initramfs, this program: what each is, not only where
}

// Key identifies the machine: a part for what it looks like, a dash, and a part for what it was made of. The latter changes when a package is upgraded, when the host's processor looks different (the
// guest's may be the same) and with every boot of the host. It reads no file in full: an upgrade gives a file another
// inode, size or time.
func Key(m Machine) (string, error) {
	var args, text strings.Builder
	for _, arg := range m.Args {
		fmt.Fprintf(&args, "%q\n", arg)
	}
	for _, file := range m.Files {
		var st unix.Stat_t
		if err := unix.Stat(file, &st); err != nil {
			return "", &os.PathError{Op: "stat", Path: file, Err: err}
		}
		fmt.Fprintf(&text, "%q %d %d %d %d.%d\n", file, st.Dev, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	processor, err := processor("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	text.Write(bootID)
	text.WriteString(processor)
	return digest(args.String()) + "-" + digest(text.String()), nil
}

// digest is long enough for the few templates of a host, none of which an attacker chooses.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

// sameMachine tells whether two keys differ at most in what the machine was made of.
func sameMachine(a, b string) bool {
	a, _, _ = strings.Cut(a, "-")
	b, _, _ = strings.Cut(b, "-")
	return a == b
}

// processor returns what proc_cpuinfo(5) says of the first processor, without what changes from one moment to the next.
func processor(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		if strings.TrimSpace(line) == "" {
			break
		}
		if !strings.HasPrefix(line, "cpu MHz") && !strings.HasPrefix(line, "bogomips") {
			text.WriteString(line)
		}
	}
	return text.String(), nil
}
