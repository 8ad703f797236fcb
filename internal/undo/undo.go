// Package undo takes back the finished steps of a function that fails half-way.
//
//	func build() (err error) {
//		var u undo.Stack
//		defer u.Run(&err)
//		if err := mount(); err != nil {
//			return err
//		}
//		u.Push(unmount)
//		// more steps
//		u.Release()
//		return nil
//	}
package undo

import "errors"

// Stack holds what takes each finished step back. The zero value is empty and ready. It is not for concurrent use.
type Stack struct{ steps []func() error }

// Push adds what takes back the step that has just been done.
func (s *Stack) Push(step func() error) { s.steps = append(s.steps, step) }

// Release forgets all steps: what they would take back is to stay.
func (s *Stack) Release() { s.steps = nil }

// Run takes back every step, the last one first, and leaves the stack empty. All steps run, whatever the others return;
// their errors are joined to *err. It is meant to be deferred, with Release called on success.
func (s *Stack) Run(err *error) {
	for len(s.steps) > 0 {
		last := len(s.steps) - 1
		step := s.steps[last]
		s.steps = s.steps[:last]
		if stepErr := step(); stepErr != nil {
			*err = errors.Join(*err, stepErr)
		}
	}
}
