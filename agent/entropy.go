package agent

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxEntropy = 512 // bytes
	// Requests of linux/random.h.
	rndAddEntropy = 0x40085203
	rndReseedCRNG = 0x5207
)

// poolInfo is struct rand_pool_info of linux/random.h with a buffer.
type poolInfo struct {
	bits, size int32
	buf        [maxEntropy]byte
}

// addEntropy credits random bytes of the host's to the guest's pool and reseeds what getrandom(2) draws from.
func addEntropy(entropy []byte) error {
	if len(entropy) > maxEntropy {
		return fmt.Errorf("%d bytes of entropy, at most %d are taken", len(entropy), maxEntropy)
	}
	if len(entropy) == 0 {
		return nil
	}
	f, err := os.OpenFile("/dev/random", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info := poolInfo{bits: int32(8 * len(entropy)), size: int32(len(entropy))}
	copy(info.buf[:], entropy)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndAddEntropy, uintptr(unsafe.Pointer(&info))); errno != 0 {
		return fmt.Errorf("add entropy: %w", errno)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndReseedCRNG, 0); errno != 0 {
		return fmt.Errorf("reseed the random pool: %w", errno)
	}
	return nil
}
