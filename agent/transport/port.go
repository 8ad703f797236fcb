package transport

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/runvm/runvm/agent/uevent"
)

const (
	portClass = "/sys/class/virtio-ports"
	// portTimeout bounds the wait for the driver to find the port.
	portTimeout = 60 * time.Second
)

// findPort returns the device file of a virtio-serial port. The driver learns of the ports and of their names from
// QEMU some time after it was loaded, and sends a uevent each time.
func findPort(name string) (string, error) {
	events, err := uevent.Listen()
	if err != nil {
		return "", err
	}
	defer events.Close()
	if err := events.SetDeadline(time.Now().Add(portTimeout)); err != nil {
		return "", err
	}
	for {
		path, err := scanPorts(portClass, name)
		if err != nil || path != "" {
			return path, err
		}
		_, err = events.Next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "", fmt.Errorf("no virtio-serial port named %q appeared within %v", name, portTimeout)
		case err != nil:
			return "", fmt.Errorf("wait for virtio-serial port %q: %w", name, err)
		}
	}
}

// scanPorts returns "" if no port has that name yet.
func scanPorts(class, name string) (string, error) {
	files, err := filepath.Glob(filepath.Join(class, "*", "name"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err == nil && strings.TrimSpace(string(b)) == name {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(file))), nil
		}
	}
	return "", nil
}
