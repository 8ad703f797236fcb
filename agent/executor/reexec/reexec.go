// Package reexec turns the program into a process of a container when libcontainer has started it as "init". Importing
// it is all that is needed.
//
// It does that in an init function, as runc does, and in a package of its own that needs nothing but libcontainer: Go
// initialises packages in the order of their paths once their imports are ready (spec, "Program initialization"), so
// that this happens before gRPC and protobuf set themselves up, which costs more than all the rest in a guest without
// hardware virtualisation.
package reexec

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // joins namespaces before Go's runtime starts
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		libcontainer.Init() // does not return
	}
}
