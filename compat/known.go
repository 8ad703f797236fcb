package compat

import "strings"

// What libcontainer/specconv knows. That package needs cgo, which the host's program is built without; a test compares.
var (
	knownNamespaces   = strings.Fields(`cgroup ipc mount network pid time user uts`)
	knownMountOptions = strings.Fields(`
async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime
noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev
rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid
rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared
silent slave strictatime suid symfollow sync tmpcopyup unbindable`)
	knownMemoryPolicyModes = strings.Fields(`
MPOL_BIND MPOL_DEFAULT MPOL_INTERLEAVE MPOL_LOCAL MPOL_PREFERRED MPOL_PREFERRED_MANY MPOL_WEIGHTED_INTERLEAVE`)
	knownMemoryPolicyFlags = strings.Fields(`MPOL_F_NUMA_BALANCING MPOL_F_RELATIVE_NODES MPOL_F_STATIC_NODES`)
)
