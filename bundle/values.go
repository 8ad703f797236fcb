package bundle

import (
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// maxHostname is the longest host or domain name, __NEW_UTS_LEN of linux/utsname.h.
const maxHostname = 64

// checkNames refuses what the guest's kernel would refuse after the VM has booted.
func checkNames(s *specs.Spec) error {
	for field, name := range map[string]string{"hostname": s.Hostname, "domainname": s.Domainname} {
		if len(name) > maxHostname {
			return fmt.Errorf("%s %q is too long: at most %d bytes are allowed", field, name, maxHostname)
		}
	}
	return nil
}

// checkRlimits knows the limits that a process may have, "POSIX process" in the specification's config.md.
func checkRlimits(p *specs.Process) error {
	seen := map[string]bool{}
	for _, l := range p.Rlimits {
		_, known := rlimits[l.Type]
		switch {
		case !known:
			return fmt.Errorf("wrong rlimit value: %s", l.Type)
		case seen[l.Type]:
			return fmt.Errorf("rlimit %s is given twice", l.Type)
		case l.Soft > l.Hard:
			return fmt.Errorf("rlimit %s: the soft limit %d exceeds the hard one, %d", l.Type, l.Soft, l.Hard)
		}
		seen[l.Type] = true
	}
	return nil
}

// checkSeccomp knows the specification's actions and operators, with runc's words for others.
func checkSeccomp(s *specs.Spec) error {
	filter := s.Linux.Seccomp
	if filter == nil {
		return nil
	}
	if err := checkAction(filter.DefaultAction); err != nil {
		return err
	}
	for _, call := range filter.Syscalls {
		if err := checkAction(call.Action); err != nil {
			return err
		}
		for _, arg := range call.Args {
			if !slices.Contains(seccompOperators(), arg.Op) {
				return fmt.Errorf("string %s is not a valid operator for seccomp", arg.Op)
			}
		}
	}
	return nil
}

func checkAction(a specs.LinuxSeccompAction) error {
	known := []specs.LinuxSeccompAction{
		specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno, specs.ActTrace,
		specs.ActAllow, specs.ActLog, specs.ActNotify,
	}
	if !slices.Contains(known, a) {
		return fmt.Errorf("string %s is not a valid action for seccomp", a)
	}
	return nil
}

func seccompOperators() []specs.LinuxSeccompOperator {
	return []specs.LinuxSeccompOperator{
		specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual,
		specs.OpGreaterThan, specs.OpMaskedEqual,
	}
}
