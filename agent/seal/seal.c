// Runs before Go's runtime, whose start costs a tenth of a second in a guest without hardware virtualisation: a program
// that replaces itself should not pay for it twice.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "seal.h"

// MFD_EXEC of linux/memfd.h, known since Linux 6.3; older kernels refuse it with EINVAL.
#define RUNVM_MFD_EXEC 0x10U

static int new_memfd(void) {
	int fd = memfd_create(RUNVM_SEALED_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING | RUNVM_MFD_EXEC);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(RUNVM_SEALED_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

static int copy(int to, int from) {
	struct stat st;
	if (fstat(from, &st) < 0)
		return -1;
	for (off_t left = st.st_size; left > 0;) {
		ssize_t n = sendfile(to, from, NULL, left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO; // shorter than it said
		if (n <= 0)
			return -1;
		left -= n;
	}
	return 0;
}

int runvm_sealed_copy(const char *path) {
	int from = open(path, O_RDONLY | O_CLOEXEC);
	if (from < 0)
		return -1;
	int to = new_memfd();
	if (to >= 0 && (copy(to, from) < 0 || fchmod(to, 0511) < 0 || fcntl(to, F_ADD_SEALS, RUNVM_SEALS) < 0)) {
		int saved = errno;
		close(to);
		to = -1;
		errno = saved;
	}
	int saved = errno;
	close(from);
	errno = saved;
	return to;
}

// become replaces the process by the sealed copy of path. It returns on failure only.
static const char *become(const char *path, char **envp) {
	// Before the exec: Go's runtime raises its own soft limit at start, and gives children the one it found.
	struct rlimit files = {.rlim_cur = RUNVM_SOFT_FILES, .rlim_max = RUNVM_HARD_FILES};
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		return "limit of open files";
	int fd = runvm_sealed_copy(path);
	if (fd < 0)
		return "copy to a memfd";
	// Give the initramfs's copy back to the kernel.
	if (unlink(path) < 0)
		return "unlink";
	char *argv[] = {RUNVM_SEALED_NAME, NULL};
	syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
	return "execveat";
}

// The kernel starts PID 1 under the path that it has in the initramfs.
__attribute__((constructor)) static void start(int argc, char **argv, char **envp) {
	if (getpid() != 1 || argc < 1 || strcmp(argv[0], RUNVM_INIT) != 0)
		return;
	const char *step = become(argv[0], envp);
	dprintf(STDERR_FILENO, "runvm-agent: seal %s: %s: %s\n", RUNVM_INIT, step, strerror(errno));
}
