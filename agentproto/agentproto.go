// Package agentproto is the protocol between the host and the agent in the guest: agent.proto, the code generated from
// it, and the numbers both sides agree on.
package agentproto

//go:generate sh -c "GOBIN=$PWD/../build/tools go install tool && PATH=$PWD/../build/tools:$PATH protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative agent.proto"

// Protocol is the number in Hello.protocol. See the compatibility rule at the top of agent.proto.
const Protocol = 1

const (
	// SerialPortName is the virtio-serial port that carries the agent's connection, as QEMU and the guest's
	// /sys/class/virtio-ports/*/name spell it.
	SerialPortName = "runvm.agent.0"
	// ReadyLine is what the agent writes to the serial port, once, when it serves; yamux follows, with the guest as
	// its server side.
	ReadyLine = "runvm-agent ready\n"
	// VsockPort is where the agent listens when the transport is vsock.
	VsockPort = 1024
	// MaxChunk bounds the data of one StdinChunk or OutputChunk, in bytes.
	MaxChunk = 64 << 10
	// SharedDir is where the agent mounts the sandbox's share in the guest.
	SharedDir = "/run/runvm/shared"
	// MaxSerial bounds BlockDevice.serial, in bytes (VIRTIO_BLK_ID_BYTES).
	MaxSerial = 20
	// SharedMemoryDir is where the agent mounts the tmpfs of CreateContainerRequest.shared_memory in the guest.
	SharedMemoryDir = "/run/runvm/shm"
	// NotifyDir holds, in the guest, a directory for each container that has a notify socket, named by its id.
	NotifyDir = "/run/runvm/notify"
	// MaxDatagram bounds a Notification, in bytes: systemd's own bound.
	MaxDatagram = 4096
	// MaxPassedFiles bounds the files that one process gets besides stdio.
	MaxPassedFiles = 128
)
