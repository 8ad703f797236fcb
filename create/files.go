package create

import (
	"strconv"

	"github.com/runvm/runvm/passfd"
)

// findFiles finds the descriptors that the caller hands to the container's process, and tells the process of those that
// come from socket activation.
func (c *creation) findFiles() error {
	files, activated, err := passfd.FromCaller(c.PreserveFDs)
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
