// Package seal moves the agent, when the kernel has started it as PID 1 from the initramfs, into a sealed memfd before
// Go starts (seal.c). Importing the package is all that is needed; no /proc is.
package seal

/*
#cgo CFLAGS: -Wall -Wextra -D_GNU_SOURCE
#include <stdlib.h>
#include "seal.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"unsafe"
)

// ErrFailed is why a PID 1 that is not sealed cannot go on. The console has the reason, in a line of its own.
var ErrFailed = errors.New("the agent could not move into a sealed file")

// Done tells whether the process with these arguments runs from its sealed copy.
func Done(args []string) bool { return len(args) > 0 && args[0] == C.RUNVM_SEALED_NAME }

// sealedCopy returns an executable, unchangeable copy of a file.
func sealedCopy(path string) (*os.File, error) {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	fd, err := C.runvm_sealed_copy(p)
	if fd < 0 {
		return nil, fmt.Errorf("copy %s to a memfd: %w", path, err)
	}
	return os.NewFile(uintptr(fd), C.RUNVM_SEALED_NAME), nil
}
