package boot

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// PowerOff writes dirty pages back and ends the VM.
func PowerOff() error {
	unix.Sync()
	return os.NewSyscallError("reboot", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

// Fail says on the console why the agent cannot go on, in one line, and ends the VM: the host sees QEMU exit and shows
// the end of the console.
func Fail(err error) {
	line := fmt.Sprintf("runvm-agent: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	if !writeTo("/dev/console", line) {
		_ = writeTo("/dev/kmsg", line)
	}
	if err := PowerOff(); err != nil {
		panic(err) // the kernel panics when PID 1 ends, which QEMU reports
	}
}

func writeTo(path, line string) bool {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.WriteString(line)
	return err == nil
}
