#ifndef RUNVM_SEAL_H
#define RUNVM_SEAL_H

#include <fcntl.h>

#define RUNVM_INIT "/init"               // where the agent is in the initramfs
#define RUNVM_SEALED_NAME "runvm-agent" // argv[0] of the sealed copy

// What libcontainer wants to see on /proc/self/exe (libcontainer/exeseal): it then runs the agent as it is. Without, it
// would copy the whole binary, or mount an overlay, for every process that it starts.
#define RUNVM_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

// Limits on open files that a container inherits unless its spec says otherwise. The kernel starts PID 1 with 1024 and
// 4096; on a host it is systemd's 1024 and 524288 or the engine's that runc passes on.
#define RUNVM_SOFT_FILES 1024
#define RUNVM_HARD_FILES (1 << 20)

// runvm_sealed_copy returns an executable, unchangeable copy of a file as a memfd; -1 with errno on failure.
int runvm_sealed_copy(const char *path);

#endif
