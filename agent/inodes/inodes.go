// Package inodes keeps the number of files that the guest's kernel remembers below what the host can serve: virtiofsd
// holds one open file for each inode that the guest has in its cache, and a host may allow it only some ten thousand.
package inodes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	countFile = "/proc/sys/fs/inode-nr"
	dropFile  = "/proc/sys/vm/drop_caches"
	// dropInodes is what makes the kernel forget dentries and inodes that nobody uses, proc_sys_vm(5).
	dropInodes = "2"
	// fastest is more inodes than a guest can look up in a second: how soon the count is looked at again follows from it.
	fastest     = 100_000
	minInterval = 20 * time.Millisecond
	maxInterval = time.Second
)

// Guard watches the number of cached inodes until ctx ends, and drops caches before it has grown by limit. The kernel
// has no event for that number. What is in use is not dropped: a guest that has more files open than the host allows
// gets EMFILE from it.
func Guard(ctx context.Context, limit uint64) error {
	base, err := count()
	if err != nil {
		return err
	}
	g := guard{limit: limit, base: base}
	timer := time.NewTimer(g.interval(base))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		now, err := count()
		if err != nil {
			return err
		}
		if g.due(now) {
			if err := os.WriteFile(dropFile, []byte(dropInodes), 0); err != nil {
				return fmt.Errorf("drop caches: %w", err)
			}
			if now, err = count(); err != nil {
				return err
			}
			g.dropped(now)
		}
		timer.Reset(g.interval(now))
	}
}

// guard decides when to drop.
type guard struct {
	limit uint64
	base  uint64 // inodes that are not the share's
	floor uint64 // what the last drop left
}

// used is how many inodes there are beyond the first ones.
func (g *guard) used(now uint64) uint64 {
	if now < g.base {
		return 0
	}
	return now - g.base
}

// threshold is half the limit, or half-way between what cannot be dropped and the limit.
func (g *guard) threshold() uint64 { return (min(g.floor, g.limit) + g.limit) / 2 }

func (g *guard) due(now uint64) bool { return g.used(now) >= g.threshold() }

func (g *guard) dropped(now uint64) { g.floor = g.used(now) }

// interval is how long the guest needs at least to get from now to the limit.
func (g *guard) interval(now uint64) time.Duration {
	left := g.limit - min(g.used(now), g.limit)
	return min(max(time.Duration(left)*time.Second/fastest/2, minInterval), maxInterval)
}

// count reads the number of inodes that the kernel has allocated.
func count() (uint64, error) {
	text, err := os.ReadFile(countFile)
	if err != nil {
		return 0, err
	}
	return parseCount(string(text))
}

var errCount = errors.New(countFile + " does not hold two numbers")

func parseCount(text string) (uint64, error) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return 0, errCount
	}
	all, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		return 0, errCount
	}
	free, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil || free > all {
		return 0, errCount
	}
	return all - free, nil
}
