package vmm

import "strconv"

// property is one property of a device. Its value is written as text on the command line and as it is in QMP.
type property struct {
	key   string
	value any // string, int or bool
}

// device returns the properties of the NIC's virtio-net-pci device, without its empty romfile.
func (n NIC) device() []property {
	p := []property{{"id", n.ID}, {"netdev", n.ID}, {"mac", n.MAC}, {"disable-legacy", "on"}}
	if n.MTU > 0 {
		p = append(p, property{"host_mtu", n.MTU})
	}
	// Per queue one interrupt to send and one to receive, then one for the configuration and one for control.
	if q := len(n.TapFDs); q > 1 {
		p = append(p, property{"mq", true}, property{"vectors", 2*q + 2})
	}
	return p
}

// device returns the properties of the disk's virtio-blk-pci device. The node has the device's id: the two namespaces
// are apart.
func (d Disk) device() []property {
	p := []property{{"id", d.ID}, {"drive", d.ID}, {"disable-legacy", "on"}}
	if d.Serial != "" {
		p = append(p, property{"serial", d.Serial})
	}
	if d.LogicalBlock > 0 {
		p = append(p, property{"logical_block_size", d.LogicalBlock})
	}
	if d.PhysicalBlock > 0 {
		p = append(p, property{"physical_block_size", d.PhysicalBlock})
	}
	return p
}

// fileDriver names the block driver below the format: QEMU's "file" takes nothing but regular files.
func (d Disk) fileDriver() string {
	if d.Block {
		return "host_device"
	}
	return "file"
}

// pairs writes properties as keys and values of a command line.
func pairs(properties []property) []string {
	var out []string
	for _, p := range properties {
		out = append(out, p.key)
		switch v := p.value.(type) {
		case bool:
			out = append(out, onOff(v))
		case int:
			out = append(out, strconv.Itoa(v))
		case string:
			out = append(out, v)
		}
	}
	return out
}
