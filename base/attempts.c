/* SPDX-License-Identifier: Apache-2.0 */
#include "base/attempts.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

long attempt_more_files(void)
{
	struct rlimit l = { 100000, 100000 };

	return setrlimit(RLIMIT_NOFILE, &l);
}

long attempt_trace(void)
{
	return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}

long attempt_fork(void)
{
	return syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

long attempt_executable_memory(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	return p == MAP_FAILED ? -1 : 0;
}

long attempt_memory_file(void)
{
	return memfd_create("probe", MFD_CLOEXEC);
}

long attempt_read_process(void)
{
	return syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0);
}

long attempt_uring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}

long attempt_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

long attempt_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1);
}
