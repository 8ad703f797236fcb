package guest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	elfHeaderSize = 64
	progSize      = 56
	pageSize      = 4096
	maxSegments   = 64
	xenPVHNote    = 18 // XEN_ELFNOTE_PHYS32_ENTRY: what QEMU boots an ELF kernel by
)

// shrinkKernel returns an ELF kernel with only its segments: no sections, no symbols, no zeros at a segment's end (the
// loader clears up to the segment's size in memory). The notes stay, since QEMU looks in them for the entry point.
func shrinkKernel(kernel []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(kernel))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKernel, err)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return nil, fmt.Errorf("%w: %v %v: an x86-64 kernel is needed", errKernel, f.Class, f.Machine)
	}
	segments, err := loadable(f)
	if err != nil {
		return nil, err
	}
	if !hasPVHNote(segments) {
		return nil, fmt.Errorf("%w: no PVH entry note: use a kernel with CONFIG_PVH=y", errKernel)
	}
	return writeKernel(f.Entry, segments)
}

type segment struct {
	prog elf.Prog64
	data []byte
}

// loadable returns the PT_LOAD segments and the PT_NOTE ones, which QEMU reads from the file.
func loadable(f *elf.File) ([]segment, error) {
	var segments []segment
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD && p.Type != elf.PT_NOTE {
			continue
		}
		if p.Filesz > maxDecompressed || p.Filesz > p.Memsz || len(segments) == maxSegments {
			return nil, fmt.Errorf("%w: segment of %d bytes in %d bytes of memory", errKernel, p.Filesz, p.Memsz)
		}
		data, err := io.ReadAll(p.Open())
		if err != nil {
			return nil, fmt.Errorf("%w: segment: %w", errKernel, err)
		}
		if uint64(len(data)) < p.Filesz {
			return nil, fmt.Errorf("%w: segment ends after %d of %d bytes", errKernel, len(data), p.Filesz)
		}
		if p.Type == elf.PT_LOAD {
			data = bytes.TrimRight(data, "\x00")
		}
		segments = append(segments, segment{data: data, prog: elf.Prog64{
			Type: uint32(p.Type), Flags: uint32(p.Flags), Vaddr: p.Vaddr, Paddr: p.Paddr,
			Filesz: uint64(len(data)), Memsz: p.Memsz, Align: min(p.Align, pageSize),
		}})
	}
	return segments, nil
}

// writeKernel lays the segments out, each at an offset that is congruent to its address modulo its alignment (elf(5)).
func writeKernel(entry uint64, segments []segment) ([]byte, error) {
	offset := uint64(elfHeaderSize + progSize*len(segments))
	for i := range segments {
		p := &segments[i].prog
		align := max(p.Align, 1)
		offset += (p.Vaddr%align + align - offset%align) % align
		p.Off = offset
		offset += p.Filesz
	}
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Entry: entry,
		Phoff: elfHeaderSize, Ehsize: elfHeaderSize, Phentsize: progSize, Phnum: uint16(len(segments)),
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)

	out := make([]byte, 0, offset)
	out, err := binary.Append(out, binary.LittleEndian, header)
	for _, s := range segments {
		if err == nil {
			out, err = binary.Append(out, binary.LittleEndian, s.prog)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write ELF header: %w", err)
	}
	for _, s := range segments {
		out = append(out, make([]byte, s.prog.Off-uint64(len(out)))...)
		out = append(out, s.data...)
	}
	return out, nil
}

// hasPVHNote looks for the Xen note through the notes: 12 bytes of header, then name and value padded to 4 bytes each.
func hasPVHNote(segments []segment) bool {
	for _, s := range segments {
		if elf.ProgType(s.prog.Type) != elf.PT_NOTE {
			continue
		}
		for d := s.data; len(d) >= 12; {
			nameLen, descLen := binary.LittleEndian.Uint32(d), binary.LittleEndian.Uint32(d[4:])
			kind := binary.LittleEndian.Uint32(d[8:])
			size := 12 + (uint64(nameLen)+3)&^3 + (uint64(descLen)+3)&^3
			if size > uint64(len(d)) {
				break
			}
			if kind == xenPVHNote && nameLen == 4 && string(d[12:16]) == "Xen\x00" {
				return true
			}
			d = d[size:]
		}
	}
	return false
}
