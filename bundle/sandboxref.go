package bundle

// Kind says how a container relates to a pod's virtual machine.
type Kind int

// The kinds of containers.
const (
	OwnVM      Kind = iota // no pod: a virtual machine of its own
	PodSandbox             // the pod's first container: a new virtual machine that others join
	PodMember              // joins the virtual machine of the given sandbox
)

// podKeys are the annotations of one container manager.
type podKeys struct {
	kind      string // key of the container's type
	sandbox   string // value that marks the sandbox's own container
	container string // value that marks the others
	sandboxID string // key of the sandbox's id
}

// knownPodKeys returns the annotations of CRI-O and podman, containerd, and dockershim. Podman from 4.4 on sets only
// the sandbox id, to its infra container's id; before it set the type, and the pod's id, which is no container's.
func knownPodKeys() []podKeys {
	return []podKeys{
		{"io.kubernetes.cri-o.ContainerType", "sandbox", "container", "io.kubernetes.cri-o.SandboxID"},
		{"io.kubernetes.cri.container-type", "sandbox", "container", "io.kubernetes.cri.sandbox-id"},
		{"io.kubernetes.docker.type", "podsandbox", "container", "io.kubernetes.sandbox.id"},
	}
}

// SandboxRef finds out from its annotations whether the container id belongs to a pod, and to which sandbox: its own id
// for a PodSandbox, the annotated one, which may be unknown to the caller or empty, for a PodMember.
func SandboxRef(annotations map[string]string, id string) (kind Kind, sandboxID string) {
	for _, k := range knownPodKeys() {
		value, sandbox := annotations[k.kind], annotations[k.sandboxID]
		switch {
		case value == k.sandbox:
			return PodSandbox, id
		case sandbox == id && sandbox != "":
			return PodSandbox, id
		case value == k.container, sandbox != "":
			return PodMember, sandbox
		}
	}
	return OwnVM, ""
}
