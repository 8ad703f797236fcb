package netns

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// convertRules converts all rules but the ones that every namespace is born with.
func convertRules(all []netlink.Rule) ([]Rule, error) {
	var rules []Rule
	for _, r := range all {
		rule := Rule{
			Family:          uint32(r.Family),
			Priority:        uint32(r.Priority),
			Table:           uint32(r.Table),
			Source:          prefixString(r.Src),
			Destination:     prefixString(r.Dst),
			Mark:            r.Mark,
			InputInterface:  r.IifName,
			OutputInterface: r.OifName,
			Invert:          r.Invert,
		}
		if r.Mask != nil {
			rule.Mask = *r.Mask
		}
		if what := beyondRule(r); what != "" {
			return nil, fmt.Errorf("routing rule %d with %s: %w (remove it)", r.Priority, what, ErrUnsupported)
		}
		if !isDefaultRule(rule) {
			rules = append(rules, rule)
		}
	}
	return rules, nil
}

// isDefaultRule knows fib_default_rules_init (net/ipv4/fib_rules.c) and fib6_rules_net_init (net/ipv6/fib6_rules.c).
func isDefaultRule(r Rule) bool {
	for _, d := range []Rule{
		{Family: unix.AF_INET, Priority: 0, Table: unix.RT_TABLE_LOCAL},
		{Family: unix.AF_INET, Priority: 32766, Table: unix.RT_TABLE_MAIN},
		{Family: unix.AF_INET, Priority: 32767, Table: unix.RT_TABLE_DEFAULT},
		{Family: unix.AF_INET6, Priority: 0, Table: unix.RT_TABLE_LOCAL},
		{Family: unix.AF_INET6, Priority: 32766, Table: unix.RT_TABLE_MAIN},
	} {
		if r == d {
			return true
		}
	}
	return false
}

// beyondRule names the first part of a rule that Rule has no field for. -1 is the library's "none".
func beyondRule(r netlink.Rule) string {
	for _, part := range []struct {
		name string
		set  bool
	}{
		{"a goto action", r.Goto > 0},
		{"an action other than a table lookup", r.Table == unix.RT_TABLE_UNSPEC},
		{"tos", r.Tos != 0},
		{"tun_id", r.TunID != 0},
		{"realms", r.Flow > 0},
		{"suppress_prefixlength", r.SuppressPrefixlen >= 0},
		{"suppress_ifgroup", r.SuppressIfgroup >= 0},
		{"ipproto", r.IPProto != 0},
		{"dport", r.Dport != nil},
		{"sport", r.Sport != nil},
		{"uidrange", r.UIDRange != nil},
	} {
		if part.set {
			return part.name
		}
	}
	return ""
}
