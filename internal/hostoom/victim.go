package hostoom

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// slack is how many bytes the victim may use: more than anybody else in the cgroup does then, and enough that its
	// oom_score_adj counts, whose unit is a thousandth of the limit.
	slack = 64 << 20
	step  = 1 << 20   // more with each try to set a limit, while what is in use grows
	greed = 128 << 20 // bytes that it asks for
	tries = 20
)

// VictimMain is the victim: it lowers the limit of its cgroup to what is in use, offers itself to the kernel as the one
// to kill, and uses more. It returns only when it was not killed.
func VictimMain() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return err
	}
	g := &Group{dir: os.NewFile(victimFD, "cgroup"), files: version2}
	if unix.Faccessat(victimFD, version1.limit, unix.F_OK, 0) == nil {
		g.files = version1
	}
	// Mapped before the limit is there: what is short then is the pages alone.
	memory, err := unix.Mmap(-1, 0, greed, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	if err := g.lower(); err != nil {
		return err
	}
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1
	}
	return fmt.Errorf("used %d bytes, more than the cgroup may, and lives", greed)
}

// lower sets the limit to slack more than what is in use, unless it is lower already.
func (g *Group) lower() (err error) {
	old, err := g.read(g.files.limit)
	if err != nil {
		return err
	}
	for i := range tries {
		used, readErr := g.usage()
		if readErr != nil {
			return readErr
		}
		limit := used + slack + uint64(i)*step
		if n, parseErr := strconv.ParseUint(old, 10, 64); parseErr == nil && n <= limit {
			return nil
		}
		if err = g.write(g.files.limit, strconv.FormatUint(limit, 10)); !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return err
}
