/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attempts of an attacker who runs code in here. Those on files have to fail by what the stages before
 * the list of system calls took away, so that no stage rests on another.
 */
#include "image/confine_probe.h"

#include "base/attempts.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each returns what a system call would: negative is failure, errno says which. */

static long try_passwd(void)
{
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static long try_home(void)
{
	const char *home = getenv("HOME");

	return open(home ? home : "/root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static long try_root(void)
{
	return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static long try_environment(void)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)getppid());
	return open(path, O_RDONLY | O_CLOEXEC);
}

static long try_device(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static long try_make_file(void)
{
	return open("/tmp/weir-image-probe", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static long try_make_folder(void)
{
	return mkdirat(AT_FDCWD, "/tmp/weir-image-probe-folder", 0700);
}

static long try_remove(void)
{
	return unlink("/tmp/weir-image-probe-bait");
}

static long try_execute(void)
{
	char *const argv[] = { NULL };

	return execve("/bin/sh", argv, argv);
}

static long try_mount(void)
{
	return mount("none", "/tmp", "tmpfs", 0, NULL);
}

static long try_connect(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(53),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		/* Refused by nobody but the other end: it was allowed. */
		return errno == ECONNREFUSED ? 0 : -1;
	return 0;
}

static long try_kill(void)
{
	return kill(getppid(), 0);
}

static long try_socket(void)
{
	return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static long try_local_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static long try_identity(void)
{
	return setresuid(0, 0, 0);
}

static const struct attempt {
	const char *name;
	long (*run)(void);
	bool by_files; /* has to fail also without a list of system calls */
} attempts[] = {
	{ "passwd", try_passwd, true },
	{ "home", try_home, true },
	{ "root", try_root, true },
	{ "environment", try_environment, true },
	{ "device", try_device, true },
	{ "make-file", try_make_file, true },
	{ "make-folder", try_make_folder, true },
	{ "remove", try_remove, true },
	{ "execute", try_execute, true },
	{ "mount", try_mount, true },
	{ "connect", try_connect, true },
	{ "more-files", attempt_more_files, true },
	{ "kill", try_kill, true },
	{ "trace", attempt_trace, true },
	{ "socket", try_socket, false },
	{ "local-socket", try_local_socket, false },
	{ "fork", attempt_fork, false },
	{ "executable-memory", attempt_executable_memory, false },
	{ "memory-file", attempt_memory_file, false },
	{ "read-process", attempt_read_process, false },
	{ "uring", attempt_uring, false },
	{ "namespace", attempt_namespace, false },
	{ "identity", try_identity, false },
	{ "dumpable", attempt_dumpable, false },
};

void confine_probe_files(const char *probe)
{
	if (!probe || !str_eq(probe, "files"))
		return;
	dprintf(STDOUT_FILENO, "capabilities: %llx\nno-new-privs: %d\ndumpable: %d\n",
		(unsigned long long)rights_capabilities(), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
		prctl(PR_GET_DUMPABLE));
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
		long r;

		if (!attempts[i].by_files)
			continue;
		errno = 0;
		r = attempts[i].run();
		dprintf(STDOUT_FILENO, "%s: %s\n", attempts[i].name,
			r < 0 ? strerror(errno) : "POSSIBLE");
	}
	_exit(0);
}

void confine_probe_call(const char *probe)
{
	if (!probe)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++)
		if (str_eq(probe, attempts[i].name)) {
			attempts[i].run();
			_exit(0);
		}
	_exit(5); /* no such attempt */
}
