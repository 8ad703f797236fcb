package guest

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/runvm/runvm/guest/modlist"
)

// maxModinfo bounds the .modinfo section, in bytes; amdgpu's, the longest in Linux, has some 60 KiB.
const maxModinfo = 4 << 20

var errModule = errors.New("not a kernel module")

// modinfo is what modinfo(8) shows of a module, as far as loading is concerned. Names are normalized.
type modinfo struct {
	depends []string
	pre     []string // softdep=pre: names or aliases, loaded before if they exist
	aliases []string
}

// readModinfo reads an uncompressed module's .modinfo section.
func readModinfo(r io.ReaderAt) (modinfo, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return modinfo{}, fmt.Errorf("%w: %w", errModule, err)
	}
	s := f.Section(".modinfo")
	if s == nil {
		return modinfo{}, fmt.Errorf("%w: no .modinfo section", errModule)
	}
	if s.Size > maxModinfo || s.FileSize > maxModinfo {
		return modinfo{}, fmt.Errorf("%w: .modinfo of %d bytes", errModule, s.Size)
	}
	data, err := s.Data()
	if err != nil {
		return modinfo{}, fmt.Errorf("%w: .modinfo: %w", errModule, err)
	}
	return parseModinfo(data), nil
}

// parseModinfo reads NUL-separated key=value pairs (MODULE_INFO in include/linux/moduleparam.h).
func parseModinfo(data []byte) modinfo {
	var m modinfo
	for pair := range bytes.SplitSeq(data, []byte{0}) {
		key, value, _ := strings.Cut(string(pair), "=")
		switch key {
		case "depends":
			for name := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' }) {
				m.depends = append(m.depends, modlist.Normalize(name))
			}
		case "softdep":
			m.pre = append(m.pre, softdepPre(value)...)
		case "alias":
			m.aliases = append(m.aliases, value)
		}
	}
	return m
}

// softdepPre returns the names after "pre:" in "pre: a b post: c" (modprobe.d(5)).
func softdepPre(value string) (names []string) {
	pre := false
	for word := range strings.FieldsSeq(value) {
		switch {
		case strings.HasSuffix(word, ":"):
			pre = word == "pre:"
		case pre:
			names = append(names, word)
		}
	}
	return names
}
