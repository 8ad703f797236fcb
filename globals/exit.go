package globals

// ExitError makes runvm exit with a code of its own. Err is reported first unless it is nil.
type ExitError struct {
	Code int
	Err  error
}

// Error returns the text of what is reported.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap returns what is reported.
func (e *ExitError) Unwrap() error { return e.Err }

// Exit turns a process's exit code into the error that makes runvm exit with it; 0 is no error.
func Exit(code int) error {
	if code == 0 {
		return nil
	}
	return &ExitError{Code: code}
}
