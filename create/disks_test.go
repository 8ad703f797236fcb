package create

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/bundle"
)

func TestDiskSerial(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range []string{"c1", "c2"} {
		for _, i := range []int{0, 1, 999999} {
			s := diskSerial(id, i)
			if len(s) > agentproto.MaxSerial || seen[s] {
				t.Errorf("serial %q of disk %d of %s: too long, or another's", s, i, id)
			}
			seen[s] = true
		}
	}
}

// TestFindNode: neither a device that is not there nor a path that is something else passes for a node.
func TestFindNode(t *testing.T) {
	for name, d := range map[string]bundle.Disk{
		"no such device": {Major: 511, Minor: 1 << 19},
		"directory":      {Major: 8, Minor: 0, Path: t.TempDir()},
		"character":      {Major: 1, Minor: 3, Path: "/dev/null"},
	} {
		if path, err := findNode(d); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v", name, path, err)
		}
	}
}
