package create

import (
	"path/filepath"
	"strconv"

	"github.com/runvm/runvm/agentproto"
	"github.com/runvm/runvm/bundle"
	"github.com/runvm/runvm/passfd"
)

// findFiles finds the descriptors that the caller hands to the container's process, and tells the process of those that
// come from socket activation.
func (c *creation) findFiles() error {
	files, activated, err := passfd.FromCaller(c.PreserveFDs, c.globals.Inherited)
	if err != nil {
		return err
	}
	c.files = files
	if activated > 0 {
		p := c.bundle.Spec.Process
		p.Env = append(p.Env, "LISTEN_FDS="+strconv.Itoa(activated), "LISTEN_PID=1")
	}
	return nil
}

// shareFiles shows the guest the regular files among them.
func (c *creation) shareFiles() {
	for _, f := range c.files {
		if f.Path == "" {
			continue
		}
		index := len(c.plan.Shares)
		c.plan.Shares = append(c.plan.Shares, bundle.Share{
			Index: index, Source: f.Path, ReadOnly: f.ReadOnly(), Hidden: true,
		})
		f.Description.Path = filepath.Join(agentproto.SharedDir, c.shareDir, "mounts", strconv.Itoa(index))
	}
}
