package guest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Offsets in the setup header of a bzImage (Linux, Documentation/arch/x86/boot.rst).
const (
	offSetupSects    = 0x1f1
	offMagic         = 0x202
	offVersion       = 0x206
	offPayloadOffset = 0x248
	offPayloadLength = 0x24c
	headerEnd        = 0x250
	payloadVersion   = 0x0208 // the boot protocol that introduced payload_offset and payload_length
	sectorSize       = 512
)

var errKernel = errors.New("not a usable kernel image")

// extractKernel returns the ELF kernel inside a bzImage, or data itself if it is an ELF file.
func extractKernel(data []byte) ([]byte, error) {
	if isELF(data) {
		return data, nil
	}
	payload, err := bzImagePayload(data)
	if err != nil {
		return nil, err
	}
	kernel, err := decompress(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKernel, err)
	}
	if !isELF(kernel) {
		return nil, fmt.Errorf("%w: the unpacked payload is not an ELF file", errKernel)
	}
	return kernel, nil
}

func isELF(data []byte) bool { return bytes.HasPrefix(data, []byte("\x7fELF")) }

// bzImagePayload returns the compressed kernel inside a bzImage, as a part of data.
func bzImagePayload(data []byte) ([]byte, error) {
	if len(data) < headerEnd || string(data[offMagic:offMagic+4]) != "HdrS" {
		return nil, fmt.Errorf("%w: neither ELF nor bzImage", errKernel)
	}
	if v := binary.LittleEndian.Uint16(data[offVersion:]); v < payloadVersion {
		return nil, fmt.Errorf("%w: boot protocol %d.%02d is older than 2.08", errKernel, v>>8, v&0xff)
	}
	sects := uint64(data[offSetupSects])
	if sects == 0 {
		sects = 4 // "for backwards compatibility"
	}
	start := (sects+1)*sectorSize + uint64(binary.LittleEndian.Uint32(data[offPayloadOffset:]))
	length := uint64(binary.LittleEndian.Uint32(data[offPayloadLength:]))
	if start > uint64(len(data)) || length > uint64(len(data))-start {
		return nil, fmt.Errorf("%w: payload of %d bytes at %d in a file of %d bytes", errKernel, length, start, len(data))
	}
	return data[start : start+length], nil
}
