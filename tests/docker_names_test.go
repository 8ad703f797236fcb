//go:build e2e

package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDockerNames: on a network that a user made, containers find each other through Docker's DNS server at 127.0.0.11:
// VM to VM, VM to runc and back, over UDP and TCP. A container may have a DNS server of its own, and network namespaces
// of its own in which 127.0.0.11 is nobody else's.
func TestDockerNames(t *testing.T) {
	d := newDocker(t)
	d.must("network", "create", "names")
	serve := "mkdir /www; hostname > /www/index.html; httpd -p 8080 -h /www; while :; do sleep 1; done"
	for runtime, flags := range runtimes {
		d.must(append(append([]string{"run", "--detach", "--name", runtime + "-server", "--hostname", runtime + "-host", "--network", "names",
			"--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--security-opt", "seccomp=unconfined"}, flags...), "busybox", "sh", "-c", serve)...)
	}
	// The C library's own resolver is what programs use, first over UDP, then over TCP.
	ask := `getent hosts nosuch.invalid; echo unknown: $?; for server in $SERVERS; do
curl --silent --retry 20 --retry-connrefused --retry-delay 1 --max-time 60 http://$server-server:8080/; export RES_OPTIONS=use-vc; done; perl /resolve.pl runc-server`
	sockets := ""
	for _, host := range []string{"127.0.0.11", "::ffff:127.0.0.11"} {
		for _, kind := range []string{"unconnected", "connected", "stream"} {
			sockets += kind + ": " + host + " port 53 answered\n"
		}
	}
	for _, flags := range runtimes {
		args := append([]string{"run", "--rm", "--network", "names", "--env", "SERVERS=runvm runc",
			"--volume", absolute("testdata/resolve.pl") + ":/resolve.pl:ro"}, flags...)
		d.expect(0, "unknown: 2\nrunvm-host\nrunc-host\n"+sockets, append(args, "debian", "sh", "-c", ask)...)
	}

	// In the running VM.
	d.expect(0, "127.0.0.11", "exec", "runvm-server", "cat", "/etc/resolv.conf")
	own := `nc -ll -p 53 -e echo own server & sleep 1; for i in $(seq 60); do nc 127.0.0.1 53 < /dev/null && exit; sleep 1; done`
	d.expect(0, "own server", "exec", "runvm-server", "sh", "-c", own)
	nested := `exec unshare -n sh -c "ip link set lo up; nc -ll -p 53 -e echo nested server & for i in \$(seq 60); do nc 127.0.0.11 53 < /dev/null && exit; sleep 1; done"`
	d.expect(0, "nested server", "exec", "runvm-server", "sh", "-c", nested)
	// What the guest's own namespace sees did not change; a container that joins it has its place in the same VM.
	d.expect(0, "Name:\trunc-server", "exec", "runvm-server", "nslookup", "runc-server")
	d.expect(0, "Name:\trunc-server", "run", "--rm", "--network", "container:runvm-server", "--runtime", "runvm", "busybox", "nslookup", "runc-server")
}

const composeFile = `
version: "2.4"
services:
  web:
    image: debian
    runtime: runvm
    command: sh -c "echo composed > /var/www/html/index.html; exec nginx -g 'daemon off;'"
    volumes: ["pages:/var/www/html"]
  client:
    image: debian
    runtime: runvm
    depends_on: [web]
    command: curl --silent --retry 60 --retry-connrefused --retry-delay 1 --max-time 100 http://web/
volumes:
  pages: {}
`

// TestDockerCompose: two services find each other by name; docker-compose runs, shows and removes them.
func TestDockerCompose(t *testing.T) {
	d := newDocker(t)
	file := filepath.Join(t.TempDir(), "docker-compose.yml")
	if err := os.WriteFile(file, []byte(composeFile), 0o644); err != nil {
		t.Fatal(err)
	}
	compose := func(args ...string) result {
		t.Helper()
		return command(t, "", composePath, append([]string{"--host", engines.dockerHost(), "--file", file, "--project-name", "pair"}, args...)...)
	}
	if r := compose("up", "--no-color", "--exit-code-from", "client"); r.code != 0 || !strings.Contains(r.stdout, "| composed\n") {
		t.Errorf("up: %+v", r)
	}
	if r := compose("down", "--volumes"); r.code != 0 {
		t.Errorf("down: %+v", r)
	}
	if left := d.must("ps", "--all", "--quiet"); left != "" {
		t.Errorf("containers are left: %s", left)
	}
}
