package guest

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// File types of a mode (inode(7)).
const (
	modeDir  = 0o040000
	modeChar = 0o020000
	modeFile = 0o100000
)

// entry is a file, folder or character device of a cpio archive, owned by root and dated 1970-01-01.
type entry struct {
	name         string // relative, without a leading slash
	mode         uint32 // type and permissions
	major, minor uint32 // of a device
	data         []byte
}

// writeCPIO writes entries, sorted by name, as an uncompressed archive in the "newc" format (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst). The same entries give the same bytes. The caller adds
// the folders that files lie in.
func writeCPIO(w io.Writer, entries []entry) error {
	entries = slices.SortedFunc(slices.Values(entries), func(a, b entry) int { return strings.Compare(a.name, b.name) })
	var err error
	for i, e := range entries {
		if err = writeEntry(w, e, i+1); err != nil {
			return fmt.Errorf("cpio: %s: %w", e.name, err)
		}
	}
	return writeEntry(w, entry{name: "TRAILER!!!"}, 0)
}

func writeEntry(w io.Writer, e entry, inode int) error {
	if uint64(len(e.data)) > math.MaxUint32 {
		return fmt.Errorf("%d bytes do not fit into the format", len(e.data))
	}
	links := 1
	if e.mode&modeDir != 0 {
		links = 2
	}
	var b bytes.Buffer
	b.WriteString("070701")
	fields := []uint32{
		uint32(inode), e.mode, 0, 0, uint32(links), 0, uint32(len(e.data)), 0, 0, e.major, e.minor,
		uint32(len(e.name) + 1), 0,
	}
	for _, f := range fields {
		fmt.Fprintf(&b, "%08x", f)
	}
	b.WriteString(e.name)
	b.WriteByte(0)
	pad(&b)
	if _, err := w.Write(b.Bytes()); err != nil {
		return err
	}
	b.Reset()
	b.Write(e.data)
	pad(&b)
	_, err := w.Write(b.Bytes())
	return err
}

// pad fills up to a multiple of four bytes.
func pad(b *bytes.Buffer) { b.Write(make([]byte, -b.Len()&3)) }
