package vmm

import (
	"fmt"
	"strconv"
	"strings"
)

// escape doubles the commas of a value, which is how QEMU's option syntax spells a comma that does not end the value.
// Everything else, also "=" and spaces, stands for itself.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// options writes "head,key=value,...". The pairs alternate between keys, which are constants, and values, which may be
// anything. Pairs with an empty value are left out. A head that is not a constant must be escaped.
func options(head string, pairs ...string) string {
	var b strings.Builder
	b.WriteString(head)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(pairs[i] + "=" + escape(pairs[i+1]))
	}
	return b.String()
}

// onOff spells a boolean as QEMU does.
func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// number spells a number; zero is the empty value, which options leaves out.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// checkID accepts what QEMU takes as an id: a letter, then letters, digits, "-", "." and "_" (id_wellformed in QEMU's
// util/id.c).
func checkID(what, id string) error {
	for i, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if letter || i > 0 && (c >= '0' && c <= '9' || strings.IndexByte("-._", c) >= 0) {
			continue
		}
		return fmt.Errorf("%s id %q: %w: want a letter, then letters, digits, \"-\", \".\" or \"_\"",
			what, id, ErrInvalidConfig)
	}
	if id == "" {
		return fmt.Errorf("%s without an id: %w", what, ErrInvalidConfig)
	}
	return nil
}
