package container

import "errors"

// The conditions that callers tell apart with errors.Is. Their words are runc's, since engines search for them.
var (
	// ErrNotExist says that no container of that id is known.
	ErrNotExist = errors.New("container does not exist")
	// ErrExist says that the id is taken.
	ErrExist = errors.New("container with given ID already exists")
	// ErrNotRunning says that the container's process has ended.
	ErrNotRunning = errors.New("container not running")
	// ErrPaused says that the operation needs a container that is not frozen.
	ErrPaused = errors.New("container paused")
	// ErrNotPaused says that the container is not frozen.
	ErrNotPaused = errors.New("container not paused")
)
