package executor

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestJoin(t *testing.T) {
	spec := &specs.Spec{Linux: &specs.Linux{
		Namespaces:  []specs.LinuxNamespace{{Type: "ipc"}, {Type: "network"}, {Type: "user"}, {Type: "uts"}},
		UIDMappings: []specs.LinuxIDMapping{{Size: 1}}, GIDMappings: []specs.LinuxIDMapping{{Size: 1}},
	}}
	if err := join(spec, map[string]string{"net": "/n", "user": "/u"}); err != nil {
		t.Fatal(err)
	}
	want := []specs.LinuxNamespace{{Type: "ipc"}, {Type: "network", Path: "/n"}, {Type: "user", Path: "/u"}, {Type: "uts"}}
	if diff := cmp.Diff(want, spec.Linux.Namespaces); diff != "" {
		t.Error(diff)
	}
	if spec.Linux.UIDMappings != nil || spec.Linux.GIDMappings != nil {
		t.Error("a joined user namespace is mapped again")
	}
	if err := join(spec, map[string]string{"pid": "/p"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a namespace that the configuration lacks: %v", err)
	}
}
