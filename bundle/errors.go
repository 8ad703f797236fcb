package bundle

import (
	"errors"
	"fmt"
)

var (
	// ErrNotSupported is what errors about configurations that runvm cannot run are, for errors.Is.
	ErrNotSupported = errors.New("not supported")
	// ErrHostNetwork says that the container is to use the host's network, which a virtual machine cannot.
	ErrHostNetwork = errors.New("the host's network cannot be used by a container in a virtual machine: " +
		"give it a network of its own (with podman or docker, leave out --network=host)")
)

// notSupported is an error with a message of its own that is ErrNotSupported.
type notSupported string

func (e notSupported) Error() string        { return string(e) }
func (e notSupported) Is(target error) bool { return target == ErrNotSupported }

func unsupportedf(format string, args ...any) error {
	return notSupported(fmt.Sprintf(format, args...))
}
