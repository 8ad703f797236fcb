package guest

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"testing"
)

func TestShrinkKernel(t *testing.T) {
	kernel := fakeKernel(t, xenPVHNote)
	small, err := shrinkKernel(kernel)
	if err != nil {
		t.Fatal(err)
	}
	if len(small) > len(kernel)-2900 {
		t.Errorf("%d bytes of %d are left, with the zeros at the end", len(small), len(kernel))
	}
	before, after := open(t, kernel), open(t, small)
	if before.Entry != after.Entry || len(before.Progs) != len(after.Progs) {
		t.Fatalf("entry %#x, %d segments; want %#x, %d", after.Entry, len(after.Progs), before.Entry, len(before.Progs))
	}
	for i, p := range after.Progs {
		q := before.Progs[i]
		if p.Vaddr != q.Vaddr || p.Paddr != q.Paddr || p.Memsz != q.Memsz {
			t.Errorf("segment %d is %+v, was %+v", i, p.ProgHeader, q.ProgHeader)
		}
		if p.Align > 0 && p.Off%p.Align != p.Vaddr%p.Align {
			t.Errorf("segment %d: offset %#x is not aligned with address %#x", i, p.Off, p.Vaddr)
		}
		if !bytes.Equal(memory(t, p), memory(t, q)) {
			t.Errorf("segment %d has another content", i)
		}
	}
}

func TestShrinkKernelRefuses(t *testing.T) {
	arm := fakeKernel(t, xenPVHNote)
	arm[18] = byte(elf.EM_AARCH64)
	cut := fakeKernel(t, xenPVHNote)
	for name, kernel := range map[string][]byte{
		"no PVH note": fakeKernel(t, xenPVHNote+1),
		"arm64":       arm,
		"cut off":     cut[:5000],
		"text":        []byte("text"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := shrinkKernel(kernel); !errors.Is(err, errKernel) {
				t.Errorf("error %v, want errKernel", err)
			}
		})
	}
}

func open(t *testing.T, data []byte) *elf.File {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// memory returns a segment as the loader makes it.
func memory(t *testing.T, p *elf.Prog) []byte {
	t.Helper()
	data, err := io.ReadAll(p.Open())
	if err != nil {
		t.Fatal(err)
	}
	return append(data, make([]byte, p.Memsz-uint64(len(data)))...)
}
