package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/runvm/runvm"

// layer says what a folder's packages may import of this module. internal/ is open to every layer.
type layer struct {
	folder string // a package, or "x/..." for a package and all below it; the first that fits decides
	may    string // folders, with spaces between
	why    string
}

// layers goes from the command line down. Data flows one way: command, container, process boundary, monitor or shim,
// sandbox, vmm or netns or agentclient, VM boundary, agent.
var layers = []layer{
	{
		".", "create start state kill delete compat admin globals monitor shim template vmm",
		"main lists the commands and the hidden ones that start runvm's own processes; it decides nothing itself",
	},
	{
		"create",
		"agentclient agentproto bundle cgroup config console container globals guest/image hooks monitor netns passfd pod " +
			"sandbox sdnotify shim template vmm",
		"exception among the commands: it resolves tools and configuration before anything is made, so it fills in the " +
			"plain data of sandbox, vmm and netns; the monitor boots the VM",
	},
	{
		"start", "agentclient agentproto bundle container globals hooks monitor sdnotify",
		"commands talk to the monitor and the agent, not to the VM; siblings share through container",
	},
	{"state", "container globals", "reads the record and nothing else, so that it cannot hang or change anything"},
	{"kill", "agentclient agentproto container globals monitor", "only sends a signal"},
	{
		"delete", "bundle container globals hooks monitor pod",
		"removes from the record alone, also when monitor and agent are gone",
	},
	{
		"compat",
		"create start state kill delete agentclient agentproto bundle cgroup config console container globals hooks " +
			"monitor netns passfd shim",
		"run is create, start and delete in one, so this one command folder imports its siblings",
	},
	{
		"admin", "create template agentclient agentproto bundle config console container globals guest/image monitor netns sandbox vmm",
		"runvm's own commands look at every part of the host side",
	},
	{"globals", "config container", "what every command starts with"},
	{
		"pod", "bundle cgroup container monitor netns",
		"the book of a sandbox's containers; netns and cgroup, since what the last one leaves on the host goes here",
	},
	{"hooks", "container", "runs programs with a container's state on stdin"},
	{"cgroup", "", "a leaf: resources of the runtime specification in, a host cgroup out"},
	{"config", "", "a leaf: a file in, plain data out"},
	{"console", "", "a leaf: terminals of the runtime specification"},
	{"container", "bundle", "the model knows no process and no VM"},
	{"bundle", "", "a leaf: config.json in, a plan as plain data out"},
	{"monitor", "sandbox container agentclient", "the long-lived process around one sandbox, and the way through it to the agent"},
	{"passfd", "agentclient agentproto", "descriptors of the host in, what the client forwards out"},
	{"sdnotify", "", "a leaf: the host's notify socket"},
	{"shim", "agentclient agentproto container passfd sdnotify", "the process of one container's process: talks to the agent and waits"},
	{"template", "sandbox", "saved sandboxes on disk, and the process that makes them"},
	{"sandbox", "vmm netns agentclient agentproto", "one VM with its network and agent as a unit; knows no records"},
	{"vmm", "", "a leaf: plain data in, QEMU out; knows no OCI"},
	{"netns", "", "a leaf: a network namespace in, taps out; knows no OCI and no VMs"},
	{"agentclient", "agentproto", "the host's end of the protocol, whoever uses it"},
	{"agentproto", "", "both ends of the VM boundary share this and nothing else"},
	{"agent/...", "agent/... agentproto guest/modlist", "guest code does not link host code"},
	{"guest/...", "guest/...", "the image is built from files, not from the runtime"},
	{"internal/...", "", "leaf helpers"},
	{"tests/...", "tests/...", "the end-to-end tests and the benchmark use the command line only"},
}

// testsMay says what the tests of a folder may import beyond what the folder itself may.
var testsMay = map[string]string{
	"agent":       "agentclient", // the two ends of the protocol are tested
	"agentclient": "agent",       // against each other
}

// owner says which folders alone may import a foreign module.
type owner struct {
	module  string
	folders string
	why     string
}

var owners = []owner{
	{"github.com/digitalocean/go-qemu", "vmm", "QMP ends in vmm"},
	{"github.com/vishvananda/netlink", "netns agent/network agent/executor", "links of the host: netns; of the guest: agent/network; process events: agent/executor"},
	{"github.com/urfave/cli", ". admin compat create delete globals kill start state", "flags end in the commands"},
	{"google.golang.org/grpc", "agent agentclient agentproto", "gRPC ends in the two ends of the protocol"},
	{
		"github.com/opencontainers/runc", "agent/executor/... agent/cmd/... compat hooks",
		"libcontainer runs the guest's containers; on the host only its hooks and the tables and types of runc's commands are used",
	},
	{
		"github.com/opencontainers/runtime-spec",
		"admin agent/executor bundle cgroup compat console container create hooks sandbox start tests/...",
		"vmm, netns and the protocol know no OCI",
	},
}

// listed is the part of "go list -json" that matters here.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// folder is the package's path below the module, "." for main.
func (l listed) folder() string {
	if l.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(l.ImportPath, module+"/")
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		for _, imported := range p.Imports {
			if why := forbidden(p.folder(), imported); why != "" {
				t.Errorf("%s must not import %s: %s", p.folder(), imported, why)
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			own := strings.TrimPrefix(imported, module+"/")
			if why := forbidden(p.folder(), imported); why != "" && !fitsOne(own, testsMay[p.folder()]) {
				t.Errorf("tests of %s must not import %s: %s", p.folder(), imported, why)
			}
		}
	}
}

// TestForbidden makes sure that the table forbids anything.
func TestForbidden(t *testing.T) {
	for _, tc := range []struct {
		folder, imported string
		forbidden        bool
	}{
		{"kill", module + "/delete", true},
		{"kill", module + "/container", false},
		{"compat", module + "/delete", false},
		{"vmm", module + "/bundle", true},
		{"vmm", module + "/internal/undo", false},
		{"vmm", "github.com/opencontainers/runtime-spec/specs-go", true},
		{"agent/process", module + "/agentproto", false},
		{"agent/process", module + "/container", true},
		{"internal/undo", module + "/internal/pidfd", false},
		{"internal/undo", module + "/vmm", true},
		{"sandbox", "github.com/vishvananda/netlink/nl", true},
		{"sandbox", "os", false},
		{"newfolder", module + "/container", true},
	} {
		if got := forbidden(tc.folder, tc.imported); (got != "") != tc.forbidden {
			t.Errorf("forbidden(%q, %q) = %q", tc.folder, tc.imported, got)
		}
	}
}

// forbidden says why a folder's package must not import another, or nothing.
func forbidden(folder, imported string) string {
	if own, ok := strings.CutPrefix(imported, module+"/"); ok {
		i := slices.IndexFunc(layers, func(l layer) bool { return fits(folder, l.folder) })
		switch {
		case i < 0:
			return "no layer has this package: add it to the table with what it may import and why"
		case own == folder || fits(own, "internal/...") || fitsOne(own, layers[i].may):
			return ""
		}
		return layers[i].why
	}
	for _, o := range owners {
		if fits(imported, o.module+"/...") && !fitsOne(folder, o.folders) {
			return o.why
		}
	}
	return ""
}

// list returns the module's packages with the imports of all build tags.
func list(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-tags", "privileged,e2e,seccomp",
		"-json=ImportPath,Imports,TestImports,XTestImports", module+"/...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// fits says whether a path is what a pattern names.
func fits(path, pattern string) bool {
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == tree || strings.HasPrefix(path, tree+"/")
	}
	return path == pattern
}

func fitsOne(path, patterns string) bool {
	return slices.ContainsFunc(strings.Fields(patterns), func(p string) bool { return fits(path, p) })
}

func TestFits(t *testing.T) {
	for _, tc := range []struct {
		path, pattern string
		want          bool
	}{
		{"agent", "agent/...", true},
		{"agent/boot", "agent/...", true},
		{"agentproto", "agent/...", false},
		{"agent/boot", "agent", false},
		{".", ".", true},
	} {
		if got := fits(tc.path, tc.pattern); got != tc.want {
			t.Errorf("fits(%q, %q) = %v", tc.path, tc.pattern, got)
		}
	}
}
