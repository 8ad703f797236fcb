package agent

import (
	"context"
	"errors"
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/runvm/runvm/agent/executor"
	"github.com/runvm/runvm/agent/process"
	"github.com/runvm/runvm/agent/sharing"
)

// toStatus gives an error its gRPC code. The text stays as it is: the host prints it where runc prints its own.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(code(err), err.Error())
}

func code(err error) codes.Code {
	switch {
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, executor.ErrExist):
		return codes.AlreadyExists
	case errors.Is(err, executor.ErrInvalid), errors.Is(err, sharing.ErrInvalid), errors.Is(err, process.ErrNoStream):
		return codes.InvalidArgument
	case errors.Is(err, executor.ErrNotRunning), errors.Is(err, os.ErrProcessDone):
		return codes.NotFound
	default:
		// The executor's other errors are about what the container asks for and about the guest's state.
		return codes.FailedPrecondition
	}
}
