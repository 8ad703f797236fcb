package guest

// group is a set of modules that the agent loads together, in the order of their dependencies.
type group struct {
	name string
	// required modules fail the build when the kernel has them neither as a module nor built in.
	required []string
	// optional modules are left out with a warning.
	optional []string
}

// groups returns what the agent needs by itself, for the devices that the host gives to a VM.
func groups() []group {
	return []group{
		{name: "serial", required: []string{"virtio_pci", "virtio_console"}},
		{name: "vsock", optional: []string{"vmw_vsock_virtio_transport"}},
		{name: "virtiofs", required: []string{"fuse", "virtiofs"}},
		{name: "9p", optional: []string{"9p", "9pnet_virtio"}},
		{name: "net", required: []string{"virtio_net"}, optional: []string{"af_packet"}},
		{name: "blk", optional: []string{"virtio_blk", "ext4"}},
		{name: "rng", optional: []string{"virtio_rng"}},
		{name: "balloon", optional: []string{"virtio_balloon"}},
		{name: "mem", optional: []string{"virtio_mem"}},
	}
}

// onDemand returns the modules that the guest's kernel asks for when a workload first uses them. All are optional.
func onDemand() []string {
	return []string{
		"overlay", "fuse", "tun", "loop", "binfmt_misc", "tls", "sctp",
		// Links.
		"veth", "bridge", "br_netfilter", "dummy", "macvlan", "macvtap", "ipvlan", "vxlan", "8021q", "ifb", "vrf",
		"wireguard", "ip_tunnel", "ipip", "sit", "ip6_tunnel", "ip_gre", "tcp_bbr", "tcp_diag", "inet_diag", "udp_diag",
		"unix_diag", "af_packet_diag", "netlink_diag",
		// Queueing.
		"sch_ingress", "sch_htb", "sch_tbf", "sch_fq", "sch_netem", "sch_prio", "cls_u32", "cls_matchall", "cls_bpf",
		"cls_flower", "cls_fw", "cls_cgroup", "act_mirred", "act_gact", "act_bpf", "act_police",
		// nftables.
		"nfnetlink", "nfnetlink_log", "nfnetlink_queue", "nf_tables", "nft_compat", "nft_chain_nat", "nft_ct",
		"nft_fib", "nft_fib_inet", "nft_fib_ipv4", "nft_fib_ipv6", "nft_flow_offload", "nft_hash",
		"nft_limit", "nft_log", "nft_masq", "nft_nat", "nft_numgen", "nft_objref", "nft_queue", "nft_quota",
		"nft_redir", "nft_reject", "nft_reject_inet", "nft_reject_ipv4", "nft_reject_ipv6", "nft_socket", "nft_tproxy",
		"nft_xfrm", "nft_connlimit", "nft_dup_ipv4", "nft_dup_ipv6", "nft_meta_bridge", "nft_reject_bridge",
		"nf_conntrack_bridge",
		// Connection tracking and NAT.
		"nf_conntrack", "nf_conntrack_netlink", "nf_conntrack_ftp", "nf_conntrack_tftp", "nf_conntrack_sip", "nf_nat",
		"nf_nat_ftp", "nf_nat_tftp", "nf_nat_sip", "nf_log_syslog", "nf_flow_table", "nf_flow_table_inet",
		// iptables, legacy and as nft's compatibility layer uses it.
		"x_tables", "ip_tables", "iptable_filter", "iptable_nat", "iptable_mangle", "iptable_raw", "iptable_security",
		"ip6_tables", "ip6table_filter", "ip6table_nat", "ip6table_mangle", "ip6table_raw", "ip6table_security",
		"ipt_REJECT", "ip6t_REJECT", "ipt_rpfilter", "ip6t_rpfilter", "ip6t_rt", "ip6t_hbh", "ip6t_frag",
		"xt_addrtype", "xt_bpf", "xt_cgroup", "xt_CHECKSUM", "xt_CLASSIFY", "xt_comment", "xt_connlimit", "xt_connmark",
		"xt_conntrack", "xt_CT", "xt_dscp", "xt_DSCP", "xt_hashlimit", "xt_helper", "xt_hl", "xt_HL", "xt_iprange",
		"xt_ipvs", "xt_length", "xt_limit", "xt_LOG", "xt_mac", "xt_mark", "xt_MASQUERADE", "xt_multiport", "xt_nat",
		"xt_NETMAP", "xt_NFLOG", "xt_NFQUEUE", "xt_owner", "xt_physdev", "xt_pkttype", "xt_policy", "xt_recent",
		"xt_REDIRECT", "xt_set", "xt_socket", "xt_state", "xt_statistic", "xt_string", "xt_tcpmss", "xt_TCPMSS",
		"xt_tcpudp", "xt_TPROXY", "xt_u32",
		// Sets and virtual servers, which kube-proxy uses.
		"ip_set", "ip_set_bitmap_port", "ip_set_hash_ip", "ip_set_hash_ipport", "ip_set_hash_ipportip",
		"ip_set_hash_ipportnet", "ip_set_hash_net", "ip_set_list_set", "ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh",
		"ip_vs_lc",
		// Text search for xt_string.
		"ts_bm", "ts_kmp",
	}
}
