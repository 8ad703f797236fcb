// Command bench compares runvm, from a template and booted, with the native runtimes of the machine, interleaved in one
// run: how long each operation takes and how much memory one idle container costs. It needs root and what "make all
// images" builds. A runtime that is not installed or does not work here is left out and the reason printed. Everything
// it makes it removes, also when interrupted.
//
//	go run ./tests/bench [-runs N] [-json FILE]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"
)

type options struct {
	runs  int
	json  string // file for the samples; empty for none
	runvm string
	root  string // root file system of the containers
}

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 5, "how often each operation is measured")
	flag.StringVar(&o.json, "json", "", "also write all samples to this `file`")
	flag.StringVar(&o.runvm, "runvm", "build/runvm", "the runvm `program`")
	flag.StringVar(&o.root, "rootfs", "build/images/busybox", "root file system with a busybox")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if os.Geteuid() != 0 {
		return errors.New("runtimes need root")
	}
	if o.runs < 1 {
		return fmt.Errorf("-runs %d: must be at least 1", o.runs)
	}
	if _, err := os.Stat(filepath.Join(o.root, "bin", "busybox")); err != nil {
		return fmt.Errorf("%w: run \"make images\" first or set -rootfs", err)
	}
	if !inside() {
		return enter(ctx)
	}
	if err := hideHybridCgroups(); err != nil {
		return err
	}
	return measure(ctx, o)
}

// measure does the rounds and prints the report.
func measure(ctx context.Context, o options) (err error) {
	// Container processes outlive the command that made them; as their new parent we can reap them.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	dir, err := os.MkdirTemp("", "runvm-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	engines, left, err := find(ctx, o, dir)
	for _, e := range engines {
		defer func() { err = errors.Join(err, e.tidy()) }()
	}
	if err != nil {
		return err
	}
	if len(engines) == 0 {
		return fmt.Errorf("no runtime works here: %v", left)
	}
	samples := samples{}
	for round := range o.runs {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, o.runs)
		for i := range engines {
			// Each round begins with another engine, so that none always follows the same one.
			e := engines[(i+round)%len(engines)]
			if err := e.round(ctx, samples); err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
		}
	}
	r := report{Runs: o.runs, Engines: engines, LeftOut: left, Samples: samples}
	fmt.Print(r.table())
	if o.json == "" {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.json, append(data, '\n'), 0o644)
}
