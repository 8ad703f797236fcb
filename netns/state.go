package netns

// State is what a machine needs to take a namespace's place on its networks, as plain data. Interfaces are in the
// order of their indexes, routes in an order in which they can be added one after the other.
type State struct {
	Interfaces []Interface `json:"interfaces,omitempty"`
	Routes     []Route     `json:"routes,omitempty"`
	Neighbours []Neighbour `json:"neighbours,omitempty"`
	Rules      []Rule      `json:"rules,omitempty"`
}

// Interface is an Ethernet interface.
type Interface struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac"`
	MTU       int      `json:"mtu"` // bytes
	Index     int      `json:"index"`
	Kind      string   `json:"kind"`                // "veth", "macvlan", ...; "device" for hardware
	Addresses []string `json:"addresses,omitempty"` // CIDR, in the kernel's order
	Up        bool     `json:"up"`
	TxQueues  int      `json:"tx_queues"`
}

// Route is a route of any table but the local one. See rtnetlink(7).
type Route struct {
	Destination string    `json:"destination,omitempty"` // CIDR; empty for the default route of Family
	Gateway     string    `json:"gateway,omitempty"`     // an IPv6 address in an IPv4 route is RTA_VIA (RFC 5549)
	Source      string    `json:"source,omitempty"`      // preferred source address
	Interface   string    `json:"interface,omitempty"`   // empty for multipath and for blackhole and its like
	Scope       uint32    `json:"scope"`                 // RT_SCOPE_*
	Table       uint32    `json:"table"`                 // 254 is main
	Priority    uint32    `json:"priority"`              // metric
	MTU         uint32    `json:"mtu,omitempty"`         // bytes; 0 for none
	Type        uint32    `json:"type"`                  // RTN_*
	Family      uint32    `json:"family"`                // AF_INET or AF_INET6
	Flags       uint32    `json:"flags,omitempty"`       // RTNH_F_ONLINK or 0
	Multipath   []NextHop `json:"multipath,omitempty"`
	Protocol    uint32    `json:"protocol"` // RTPROT_*
	AdvMSS      uint32    `json:"advmss,omitempty"`
	TOS         uint32    `json:"tos,omitempty"`
}

// NextHop is one way of a multipath route.
type NextHop struct {
	Gateway   string `json:"gateway,omitempty"`
	Interface string `json:"interface"`
	Weight    uint32 `json:"weight"`          // 1 to 256
	Flags     uint32 `json:"flags,omitempty"` // RTNH_F_ONLINK or 0
}

// Neighbour is a permanent entry of the ARP or NDP table.
type Neighbour struct {
	Interface string `json:"interface"`
	Address   string `json:"address"`
	MAC       string `json:"mac"`
	State     uint32 `json:"state"`           // NUD_PERMANENT
	Flags     uint32 `json:"flags,omitempty"` // NTF_*
}

// Rule is a policy routing rule. See ip-rule(8).
type Rule struct {
	Family          uint32 `json:"family"` // AF_INET or AF_INET6
	Priority        uint32 `json:"priority"`
	Table           uint32 `json:"table"`
	Source          string `json:"source,omitempty"`      // CIDR
	Destination     string `json:"destination,omitempty"` // CIDR
	Mark            uint32 `json:"mark,omitempty"`
	Mask            uint32 `json:"mask,omitempty"`
	InputInterface  string `json:"input_interface,omitempty"`
	OutputInterface string `json:"output_interface,omitempty"`
	Invert          bool   `json:"invert,omitempty"`
}
