package guest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
)

const (
	maxDecompressed = 1 << 30   // bytes
	maxDictionary   = 128 << 20 // bytes; kernels use up to 32 MiB with xz and 128 MiB with zstd
	lz4LegacyBlock  = 8 << 20   // bytes, of each block but the last (lz4 frame format, "legacy frame")
)

var errCompression = errors.New("compression")

// decompress unpacks one xz, zstd, gzip or legacy lz4 stream. What follows the stream is ignored: the kernel's build
// appends the unpacked size to its payload (scripts/Makefile.lib, size_append).
func decompress(data []byte) ([]byte, error) {
	var r io.Reader
	var err error
	switch in := bytes.NewReader(data); {
	case bytes.HasPrefix(data, []byte("\xfd7zXZ\x00")):
		var x *xz.Reader
		if x, err = xz.NewReader(in, maxDictionary); err == nil {
			x.Multistream(false)
			r = x
		}
	case bytes.HasPrefix(data, []byte("\x28\xb5\x2f\xfd")):
		return decompressZstd(data)
	case bytes.HasPrefix(data, []byte("\x1f\x8b")):
		var z *gzip.Reader
		if z, err = gzip.NewReader(in); err == nil {
			z.Multistream(false)
			r = z
		}
	case bytes.HasPrefix(data, []byte("\x02\x21\x4c\x18")):
		return decompressLegacyLZ4(data[4:])
	default:
		return nil, fmt.Errorf("%w: data starting with % x is not xz, zstd, gzip or lz4: use a kernel compressed with "+
			"one of these", errCompression, data[:min(6, len(data))])
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCompression, err)
	}
	return readBounded(r)
}

// decompressZstd takes the size that follows the frame for what it is: the decoder calls it an invalid frame, after it
// has returned everything before.
func decompressZstd(data []byte) ([]byte, error) {
	z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(maxDictionary))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCompression, err)
	}
	defer z.Close()
	out, err := readBounded(z)
	if err == nil || len(data) < 4 || len(out) == 0 {
		return out, err
	}
	if trailer := binary.LittleEndian.Uint32(data[len(data)-4:]); uint64(trailer) == uint64(len(out)) {
		return out, nil
	}
	return nil, err
}

// decompressLegacyLZ4 unpacks blocks that are each preceded by their size, without the frame's magic.
func decompressLegacyLZ4(data []byte) ([]byte, error) {
	var out []byte
	block := make([]byte, lz4LegacyBlock)
	for len(data) > 4 && len(out) < maxDecompressed {
		size := binary.LittleEndian.Uint32(data)
		if uint64(size) > uint64(len(data)-4) {
			return nil, fmt.Errorf("%w: lz4 block of %d bytes, %d are left", errCompression, size, len(data)-4)
		}
		n, err := lz4.UncompressBlock(data[4:4+size], block)
		if err != nil {
			return nil, fmt.Errorf("%w: lz4: %w", errCompression, err)
		}
		out = append(out, block[:n]...)
		data = data[4+size:]
	}
	return out, nil
}

// readBounded returns what it read also with an error.
func readBounded(r io.Reader) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(r, maxDecompressed+1))
	if err != nil {
		return out, fmt.Errorf("%w: %w", errCompression, err)
	}
	if len(out) > maxDecompressed {
		return nil, fmt.Errorf("%w: more than %d bytes unpacked", errCompression, maxDecompressed)
	}
	return out, nil
}
