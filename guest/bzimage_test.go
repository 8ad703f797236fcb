package guest

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compressors pack as the kernel's build does, which appends the unpacked size to all but gzip.
func compressors() map[string]func(testing.TB, []byte) []byte {
	return map[string]func(testing.TB, []byte) []byte{
		"gzip": func(t testing.TB, data []byte) []byte {
			var b bytes.Buffer
			pack(t, gzip.NewWriter(&b), data)
			return b.Bytes()
		},
		// No packer for xz is among the dependencies: testdata/kernel.xz is fakeKernel's result through
		// `xz --check=crc32 --x86 --lzma2`.
		"xz": func(t testing.TB, data []byte) []byte {
			packed, err := os.ReadFile("testdata/kernel.xz")
			if err != nil {
				t.Fatal(err)
			}
			return appendSize(packed, data)
		},
		"zstd": func(t testing.TB, data []byte) []byte {
			w, err := zstd.NewWriter(nil)
			if err != nil {
				t.Fatal(err)
			}
			return appendSize(w.EncodeAll(data, nil), data)
		},
		"lz4": func(t testing.TB, data []byte) []byte {
			var b bytes.Buffer
			w := lz4.NewWriter(&b)
			if err := w.Apply(lz4.LegacyOption(true)); err != nil {
				t.Fatal(err)
			}
			pack(t, w, data)
			return appendSize(b.Bytes(), data)
		},
	}
}

func pack(t testing.TB, w io.WriteCloser, data []byte) {
	t.Helper()
	_, err := w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
}

func appendSize(packed, data []byte) []byte {
	return binary.LittleEndian.AppendUint32(packed, uint32(len(data)))
}

func TestExtractKernel(t *testing.T) {
	want := fakeKernel(t, xenPVHNote)
	for name, compress := range compressors() {
		t.Run(name, func(t *testing.T) {
			got, err := extractKernel(fakeBzImage(compress(t, want)))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, want the %d that were packed", len(got), len(want))
			}
		})
	}
	if got, err := extractKernel(want); err != nil || !bytes.Equal(got, want) {
		t.Errorf("an ELF file must stay as it is, error %v", err)
	}
}

// The x86 filter turns the targets of call instructions into relative ones; kernels are packed with it. The text is
// `printf '\xe8\x01\x02\x00\x00kernel' | xz --check=crc32 --x86 --lzma2`.
func TestDecompressBranchFilter(t *testing.T) {
	packed, err := base64.StdEncoding.DecodeString(xzWithX86Filter)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decompress(append(packed, 11, 0, 0, 0))
	if want := "\xe8\x01\x02\x00\x00kernel"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestExtractKernelRefuses(t *testing.T) {
	good := fakeBzImage([]byte("payload"))
	change := func(f func([]byte)) []byte {
		data := bytes.Clone(good)
		f(data)
		return data
	}
	for name, data := range map[string][]byte{
		"empty":        nil,
		"text":         []byte("not a kernel"),
		"no magic":     change(func(d []byte) { d[offMagic] = 'X' }),
		"old protocol": change(func(d []byte) { binary.LittleEndian.PutUint16(d[offVersion:], 0x207) }),
		"offset":       change(func(d []byte) { binary.LittleEndian.PutUint32(d[offPayloadOffset:], 1<<31) }),
		"length":       change(func(d []byte) { binary.LittleEndian.PutUint32(d[offPayloadLength:], 1<<31) }),
		"compression":  good,
		"no ELF":       fakeBzImage(compressors()["gzip"](t, []byte("text"))),
		"cut lz4":      fakeBzImage([]byte("\x02\x21\x4c\x18\xff\xff\x00\x00abcdef")),
		"cut zstd":     fakeBzImage(compressors()["zstd"](t, fakeKernel(t, xenPVHNote))[:60]),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := extractKernel(data); !errors.Is(err, errKernel) {
				t.Errorf("error %v, want errKernel", err)
			}
		})
	}
}

func FuzzBzImagePayload(f *testing.F) {
	f.Add(fakeBzImage([]byte("payload")))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		payload, err := bzImagePayload(data)
		if err == nil && len(payload) > len(data) {
			t.Errorf("payload of %d bytes in a file of %d", len(payload), len(data))
		}
	})
}

const xzWithX86Filter = "/Td6WFoAAAFpIt42AgEEACEBFgANhjUfAQAK6AYCAABrZXJuZWwAAL6LVdsAAR8LPWIOepBCmQ0BAAAAAAFZWg=="
