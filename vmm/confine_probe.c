/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attempts of an attacker who runs code in here. Behind the list of system calls most
 * of them end the process; without the list (probe "process") each has to fail by what the earlier
 * stages took away, so that no stage rests on another.
 */
#include "vmm/confine_probe.h"
#include "vmm/confine.h"

#include "base/attempts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* Each returns what a system call would: negative is failure, errno says which. */

static long try_open_file(void)
{
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static long try_open_root(void)
{
	return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static long try_open_proc(void)
{
	return open("/proc/self/mem", O_RDWR | O_CLOEXEC);
}

static long try_open_kvm(void)
{
	return open("/dev/kvm", O_RDWR | O_CLOEXEC);
}

static long try_make_file(void)
{
	return open("/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static long try_make_folder(void)
{
	return mkdirat(AT_FDCWD, "/folder", 0700);
}

static long try_mount(void)
{
	return mount("none", "/", "tmpfs", 0, NULL);
}

static long try_remount(void)
{
	return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL);
}

static long try_become_root(void)
{
	return setresuid(0, 0, 0);
}

static long try_host_name(void)
{
	return sethostname("x", 1);
}

#ifndef WEIR_SANITIZED /* whose runtime maps terabytes */
static long try_more_memory(void)
{
	struct rlimit l = { RLIM_INFINITY, RLIM_INFINITY };

	return setrlimit(RLIMIT_AS, &l);
}

/* More address space than any guest of a test's has. */
static long try_large_map(void)
{
	void *p = mmap(NULL, UINT64_C(1) << 40, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? -1 : 0;
}
#endif

static long try_many_files(void)
{
	int fds[1000], err;
	unsigned n = 0;

	while (n < ARRAY_SIZE(fds) && (fds[n] = dup(STDERR_FILENO)) >= 0)
		n++;
	err = errno;
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	errno = err;
	return n < ARRAY_SIZE(fds) ? -1 : 0;
}

static long try_core_file(void)
{
	struct rlimit l = { 1 << 20, 1 << 20 };

	return setrlimit(RLIMIT_CORE, &l);
}

static long try_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static long try_connect(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(53),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof(to));
}

static long try_abstract_socket(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "\0weir-probe" };
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof(to));
}

static long try_raw_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
}

static long try_exec(void)
{
	char *const argv[] = { NULL };

	return execve("/bin/sh", argv, argv);
}

static long try_kill(void)
{
	return kill(-1, 0);
}

static long try_make_executable(void)
{
	static uint8_t page[8192] __attribute__((aligned(4096)));

	return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static long try_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long try_other_ioctl(void)
{
	return ioctl(STDERR_FILENO, KVM_CREATE_VM, 0);
}

static long try_registers(void)
{
	struct kvm_regs regs;

	return ioctl(STDERR_FILENO, KVM_GET_REGS, &regs);
}

static long try_run_other(void)
{
	return ioctl(STDERR_FILENO, KVM_RUN, 0);
}

static long try_read(void)
{
	char c;

	return read(STDIN_FILENO, &c, 0);
}

static long try_write_elsewhere(void)
{
	return write(STDOUT_FILENO, "leak\n", 5);
}

static long try_send(void)
{
	return send(STDOUT_FILENO, "leak\n", 5, MSG_DONTWAIT);
}

static long try_wait_events(void)
{
	return syscall(SYS_epoll_create1, 0);
}

static const struct attempt {
	const char *name;
	long (*run)(void);
	bool in_process; /* has to fail also without a list of system calls */
} attempts[] = {
	{ "open-file", try_open_file, true },
	{ "open-root", try_open_root, true },
	{ "open-proc", try_open_proc, true },
	{ "open-kvm", try_open_kvm, true },
	{ "make-file", try_make_file, true },
	{ "make-folder", try_make_folder, true },
	{ "mount", try_mount, true },
	{ "remount", try_remount, true },
	{ "become-root", try_become_root, true },
	{ "host-name", try_host_name, true },
	{ "more-files", attempt_more_files, true },
	{ "core-file", try_core_file, true },
#ifndef WEIR_SANITIZED
	{ "more-memory", try_more_memory, true },
	{ "large-map", try_large_map, true },
#endif
	{ "many-files", try_many_files, true },
	{ "connect", try_connect, true },
	{ "abstract-socket", try_abstract_socket, true },
	{ "raw-socket", try_raw_socket, true },
	{ "exec", try_exec, true },
	{ "kill-all", try_kill, true },
	{ "trace", attempt_trace, true },
	{ "socket", try_socket, false },
	{ "fork", attempt_fork, false },
	{ "executable-memory", attempt_executable_memory, false },
	{ "make-executable", try_make_executable, false },
	{ "memory-file", attempt_memory_file, false },
	{ "read-process", attempt_read_process, false },
	{ "uring", attempt_uring, false },
	{ "bpf", try_bpf, false },
	{ "namespace", attempt_namespace, false },
	{ "other-ioctl", try_other_ioctl, false },
	{ "registers", try_registers, false },
	{ "run-other", try_run_other, false },
	{ "read", try_read, false },
	{ "write-elsewhere", try_write_elsewhere, false },
	{ "send", try_send, false },
	{ "wait-events", try_wait_events, false },
	{ "dumpable", attempt_dumpable, false },
};

static unsigned count_interfaces(void)
{
	unsigned n = 0;
	char name[IF_NAMESIZE];

	for (unsigned i = 1; i < 64; i++)
		n += if_indextoname(i, name) != NULL;
	return n;
}

static unsigned count_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Capabilities that nothing we could start would get either. */
static unsigned count_bounding(void)
{
	unsigned n = 0;

	for (int cap = 0; cap < 64; cap++)
		n += prctl(PR_CAPBSET_READ, cap) > 0;
	return n;
}

void confine_probe_process(const char *probe)
{
	if (!probe || strcmp(probe, "process") != 0)
		return;
	dprintf(STDERR_FILENO,
		"pid: %d\nparent: %d\nuid: %u\ncapabilities: %llx\nbounding: %u\nno-new-privs: %d\n"
		"interfaces: %u\ndescriptors: %u\ndumpable: %d\n",
		(int)getpid(), (int)getppid(), geteuid(), (unsigned long long)rights_capabilities(),
		count_bounding(), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), count_interfaces(),
		count_descriptors(), prctl(PR_GET_DUMPABLE));
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
		long r;

		if (!attempts[i].in_process)
			continue;
		errno = 0;
		r = attempts[i].run();
		dprintf(STDERR_FILENO, "%s: %s\n", attempts[i].name,
			r < 0 ? strerror(errno) : "POSSIBLE");
	}
	_exit(0);
}

void confine_probe_thread(const char *probe, const char *role)
{
	size_t n = strlen(role);

	if (!probe || strncmp(probe, role, n) != 0 || probe[n] != ':')
		return;
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++)
		if (strcmp(probe + n + 1, attempts[i].name) == 0) {
			attempts[i].run();
			_exit(0);
		}
	_exit(5); /* no such attempt */
}
