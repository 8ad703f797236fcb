// Command helper is what the end-to-end tests run inside containers where busybox has no applet for it.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command string, args []string) error {
	switch command {
	case "serve":
		return serve(args[0], args[1])
	case "answer":
		return answer(args[0])
	case "notify":
		return notify(args)
	default:
		return fmt.Errorf("unknown command %q", command)
	}
}

func file(number string) *os.File {
	n, err := strconv.Atoi(number)
	if err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(n), "inherited")
}

// serve accepts count connections on a listening socket, one after the other, and answers each when it has been heard
// to its end.
func serve(number, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	l, err := net.FileListener(file(number))
	if err != nil {
		return err
	}
	for range n {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		if err := reply(conn); err != nil {
			return err
		}
	}
	return nil
}

// answer does the same with one connection.
func answer(number string) error {
	conn, err := net.FileConn(file(number))
	if err != nil {
		return err
	}
	return reply(conn)
}

func reply(conn net.Conn) error {
	defer conn.Close()
	data, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(conn, "heard %d bytes: %.40s", len(data), data)
	return err
}

// notify sends each argument to the notify socket, as sd_notify(3) does.
func notify(messages []string) error {
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, m := range messages {
		if _, err := conn.Write([]byte(m)); err != nil {
			return err
		}
	}
	return nil
}
