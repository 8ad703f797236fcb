package bundle

import "testing"

func TestSandboxRef(t *testing.T) {
	const (
		crioKind, crioID = "io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"
		criKind, criID   = "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"
		dockKind, dockID = "io.kubernetes.docker.type", "io.kubernetes.sandbox.id"
	)
	type annotations = map[string]string
	for _, c := range []struct {
		name        string
		annotations annotations
		kind        Kind
		sandbox     string
	}{
		{"none", nil, OwnVM, ""},
		{"others", annotations{"a": "b", crioKind: ""}, OwnVM, ""},
		{"CRI-O sandbox", annotations{crioKind: "sandbox", crioID: "c1"}, PodSandbox, "c1"},
		{"CRI-O container", annotations{crioKind: "container", crioID: "s1"}, PodMember, "s1"},
		{"containerd sandbox", annotations{criKind: "sandbox", criID: "c1"}, PodSandbox, "c1"},
		{"containerd container", annotations{criKind: "container", criID: "s1"}, PodMember, "s1"},
		{"dockershim sandbox", annotations{dockKind: "podsandbox"}, PodSandbox, "c1"},
		{"dockershim container", annotations{dockKind: "container", dockID: "s1"}, PodMember, "s1"},
		{"podman 3 pod", annotations{crioKind: "container", crioID: "pod"}, PodMember, "pod"},
		{"podman 4.4 pod", annotations{crioID: "infra"}, PodMember, "infra"},
		{"own id only", annotations{crioID: "c1"}, PodSandbox, "c1"},
		{"container of itself", annotations{crioKind: "container", crioID: "c1"}, PodSandbox, "c1"},
		{"container of nobody", annotations{criKind: "container"}, PodMember, ""},
	} {
		kind, sandbox := SandboxRef(c.annotations, "c1")
		if kind != c.kind || sandbox != c.sandbox {
			t.Errorf("%s: %v, %q; want %v, %q", c.name, kind, sandbox, c.kind, c.sandbox)
		}
	}
}
