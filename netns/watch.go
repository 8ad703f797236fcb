package netns

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Watch returns a channel that has a value whenever anything that Read reads of the namespace at path has changed since
// the last one was taken; what changed has to be read anew. It is closed when ctx ends, or when the kernel's
// notifications end in an error. While it runs the namespace stays alive, as the caller's process would keep it.
func Watch(ctx context.Context, path string) (<-chan struct{}, error) {
	var socket *os.File
	err := Do(path, func() (err error) {
		socket, err = subscribe()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("watch network namespace %s: %w", path, err)
	}
	changes := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	go func() {
		defer close(changes)
		defer socket.Close()
		defer stop()
		forward(socket, changes)
	}()
	return changes, nil
}

// subscribe opens a netlink socket in the calling thread's namespace.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	var groups uint32
	for _, g := range []uint{
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	} {
		groups |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// forward ends with the socket. ENOBUFS means that notifications were lost, which is a change like any other. The
// messages are not looked at: a truncated one will do.
func forward(socket *os.File, changes chan<- struct{}) {
	buf := make([]byte, os.Getpagesize())
	for {
		if _, err := socket.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		select {
		case changes <- struct{}{}:
		default:
		}
	}
}
