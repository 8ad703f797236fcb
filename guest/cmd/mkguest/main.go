// Command mkguest builds the guest image that runvm boots: a kernel, an initramfs and a manifest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/runvm/runvm/guest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkguest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	o := guest.Options{Log: stderr}
	flags := flag.NewFlagSet("mkguest", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.Out, "o", "build/guest", "write vmlinux, initramfs.cpio and manifest.json to `DIR`")
	flags.StringVar(&o.KernelDeb, "kernel-deb", "", "take the kernel from a Debian linux-image package `FILE`")
	flags.StringVar(&o.KernelRoot, "kernel-root", "",
		"take the kernel from `DIR`/boot/vmlinuz-RELEASE and DIR/lib/modules/RELEASE")
	flags.StringVar(&o.KernelRelease, "kernel-release", "", "take this `RELEASE` if -kernel-root has several")
	flags.StringVar(&o.Agent, "agent", "build/runvm-agent", "the statically linked agent `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	m, err := guest.Build(ctx, o)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stderr, "guest image for Linux %s written to %s\n", m.KernelRelease, o.Out)
	return err
}
