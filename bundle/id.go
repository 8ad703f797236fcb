package bundle

import "errors"

// ErrInvalidID says that a string cannot be a container's id.
var ErrInvalidID = errors.New("invalid container ID format")

// ValidateID checks an id by runc's rule: letters, digits, "_", "+", "-" and ".", and usable as a file name.
func ValidateID(id string) error {
	if id == "" || id == "." || id == ".." {
		return ErrInvalidID
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '_', c == '+', c == '-', c == '.':
		default:
			return ErrInvalidID
		}
	}
	return nil
}
