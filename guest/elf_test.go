package guest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"
)

// fakeModule returns an ELF object with nothing but a .modinfo section of the given key=value pairs.
func fakeModule(t testing.TB, pairs ...string) []byte {
	t.Helper()
	names := "\x00.modinfo\x00.shstrtab\x00"
	info := strings.Join(pairs, "\x00") + "\x00"
	infoOff := uint64(elfHeaderSize)
	namesOff := infoOff + uint64(len(info))
	sectionsOff := (namesOff + uint64(len(names)) + 7) &^ 7
	b := new(bytes.Buffer)
	put(t, b, header(elf.ET_REL, elf.Header64{Shoff: sectionsOff, Shentsize: 64, Shnum: 3, Shstrndx: 2}))
	b.WriteString(info + names)
	b.Write(make([]byte, sectionsOff-uint64(b.Len())))
	put(t, b, elf.Section64{})
	put(t, b, elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: infoOff, Size: uint64(len(info))})
	put(t, b, elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: namesOff, Size: uint64(len(names))})
	return b.Bytes()
}

// fakeKernel returns an ELF executable of one segment with trailing zeros, inside of which lies a note.
func fakeKernel(t testing.TB, noteKind uint32) []byte {
	t.Helper()
	const textOff = 0x1000
	text := append(bytes.Repeat([]byte("kernel "), 1000), make([]byte, 3000)...)
	note := new(bytes.Buffer)
	put(t, note, [3]uint32{4, 8, noteKind})
	note.WriteString("Xen\x00")
	put(t, note, uint64(0x1000000))
	copy(text[64:], note.Bytes())
	b := new(bytes.Buffer)
	put(t, b, header(elf.ET_EXEC, elf.Header64{Entry: 0x1000000, Phoff: elfHeaderSize, Phentsize: progSize, Phnum: 2}))
	put(t, b, elf.Prog64{
		Type: uint32(elf.PT_LOAD), Off: textOff, Vaddr: 0xffffffff81000000, Paddr: 0x1000000,
		Filesz: uint64(len(text)), Memsz: uint64(len(text)) + 4096, Align: 0x200000,
	})
	put(t, b, elf.Prog64{
		Type: uint32(elf.PT_NOTE), Off: textOff + 64, Vaddr: 0xffffffff81000040, Paddr: 0x1000040,
		Filesz: uint64(note.Len()), Memsz: uint64(note.Len()), Align: 4,
	})
	b.Write(make([]byte, textOff-b.Len()))
	b.Write(text)
	return b.Bytes()
}

func header(kind elf.Type, h elf.Header64) elf.Header64 {
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	h.Type, h.Machine, h.Version, h.Ehsize = uint16(kind), uint16(elf.EM_X86_64), 1, elfHeaderSize
	return h
}

func put(t testing.TB, b *bytes.Buffer, v any) {
	t.Helper()
	if err := binary.Write(b, binary.LittleEndian, v); err != nil {
		t.Fatal(err)
	}
}

// fakeBzImage wraps a payload as the kernel's build does, with four setup sectors.
func fakeBzImage(payload []byte) []byte {
	const start = 5 * sectorSize
	data := make([]byte, start+16, start+16+len(payload)+100)
	data[offSetupSects] = 4
	copy(data[offMagic:], "HdrS")
	binary.LittleEndian.PutUint16(data[offVersion:], 0x20f)
	binary.LittleEndian.PutUint32(data[offPayloadOffset:], 16)
	binary.LittleEndian.PutUint32(data[offPayloadLength:], uint32(len(payload)))
	return append(append(data, payload...), make([]byte, 100)...)
}
