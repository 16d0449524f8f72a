/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving up rights, in stages. After each stage a comment says what is still
 * possible, so that a reader can check it against the process's job: run one
 * guest on descriptors that somebody else opened.
 *
 * The monitor becomes the first process of a pid namespace, so there are two:
 *
 *   weir -> weir-vmm, waiting -> weir-vmm, the machine
 *
 * Each is killed when the one before it is gone, whatever that dies of.
 */
#include "vmm/confine.h"
#include "vmm/confine_probe.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_FILES 256
#define STATUS_ERROR 4
/* Beside the guest's memory: our own code, stacks, buffers, and what a KVM page table walk maps. */
#define OWN_MEMORY (UINT64_C(256) << 20)

#define NAMESPACES                                                                                 \
	(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | \
	 CLONE_NEWCGROUP)

static int failed(const char *why, const char **ret_why)
{
	*ret_why = why;
	return -errno;
}

/* 0: in namespaces of our own. 1: the host makes none, which has been said. */
static int enter_namespaces(const char **ret_why)
{
	uid_t uid;
	gid_t gid;
	int r;

	/* Changed credentials make a process unreadable, also to itself in /proc. */
	prctl(PR_SET_DUMPABLE, 1);
	uid = geteuid();
	gid = getegid();
	if (unshare(NAMESPACES) < 0) {
		fprintf(stderr,
			"weir-vmm: this host makes no namespaces (%s): the monitor keeps the "
			"host's, "
			"behind Landlock and its list of system calls\n",
			strerror(errno));
		return 1;
	}
	r = rights_write_id_maps(0, uid, gid, false);
	*ret_why = "mapping ids into a user namespace";
	if (r == 0) {
		*ret_why = "an empty root directory";
		r = rights_enter_empty_root(true);
	}
	return r;
}

/* Without a namespace of our own we may not change the bounding set: no_new_privs has to do. */
static int drop_capabilities(void)
{
	int r = rights_bound_capabilities(0);

	return r == 0 || r == -EPERM ? rights_keep_capabilities(0) : r;
}

int confine_memory(uint64_t guest_bytes)
{
#ifdef WEIR_SANITIZED
	(void)guest_bytes;
	return 0; /* the sanitizer maps terabytes */
#else
	return rights_limit(RLIMIT_AS, guest_bytes + OWN_MEMORY);
#endif
}

int confine_files(uint64_t largest)
{
	return rights_limit(RLIMIT_FSIZE, largest);
}

/* Also used where no namespace could be made: the waiting process costs little. */
static _Noreturn void wait_for(pid_t pid, const char *probe)
{
	struct confine_filter f;
	char line[80];
	int status, n;

	if (confine_filter_waiter(&f) < 0)
		_exit(STATUS_ERROR);
	confine_thread(&f);
	confine_probe_thread(probe, "waiter");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			_exit(STATUS_ERROR);
	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	/* Not dprintf(): that asks what kind of file it is, which is not on the list. */
	n = snprintf(line, sizeof(line), "weir-vmm: the monitor was killed by signal %d\n",
		     WTERMSIG(status));
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(STATUS_ERROR);
	_exit(STATUS_ERROR);
}

/* We die with who started us: who else would end the guest? */
static int follow_parent(int alive)
{
	struct pollfd p = { .fd = alive };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	/* It may have died just before. */
	if (poll(&p, 1, 0) > 0)
		_exit(STATUS_ERROR);
	return 0;
}

static int become_monitor(pid_t parent, const char *probe, const char **ret_why)
{
	int alive[2], r;
	pid_t pid;

	/* Said once more: changing credentials took it back. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(STATUS_ERROR);
	if (pipe2(alive, O_CLOEXEC) < 0)
		return failed("a pipe", ret_why);
	pid = fork();
	if (pid < 0)
		return failed("a process for the machine", ret_why);
	if (pid > 0) {
		close(alive[0]);
		wait_for(pid, probe);
	}
	close(alive[1]);
	r = follow_parent(alive[0]);
	close(alive[0]);
	*ret_why = "the parent-death signal";
	return r;
}

static int drop_rights(const char **ret_why)
{
	int r = drop_capabilities();

	*ret_why = "dropping capabilities";
	if (r == 0) {
		*ret_why = "no_new_privs";
		r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
	}
	if (r == 0) {
		*ret_why = "Landlock";
		/* Not in every kernel; the other stages hold without it. */
		r = rights_forbid_files(NULL, 0);
		r = r == -ENOTSUP ? 0 : r;
	}
	if (r == 0) {
		*ret_why = "limits of files and cores";
		r = rights_limit(RLIMIT_CORE, 0);
	}
	if (r == 0)
		r = rights_limit(RLIMIT_NOFILE, MAX_FILES);
	prctl(PR_SET_DUMPABLE, 0);
	return r;
}

int confine_process(const int *keep, size_t n, const char *probe, const char **ret_why)
{
	pid_t parent = getppid();
	int r;

	/* Stage 1: only what was handed over; a terminal's keys are not for us. */
	rights_close_others(keep, n);
	setsid();
	signal(SIGPIPE, SIG_IGN);
	/* A file that grows too long is an error of that write. */
	signal(SIGXFSZ, SIG_IGN);
	/* Still possible: everything the user may. */

	/* Stage 2: nobody, in namespaces of our own, with an empty root and no network. */
	if (geteuid() == 0 && rights_become_nobody() < 0)
		fprintf(stderr, "weir-vmm: there is no user nobody here: root stays\n");
	r = enter_namespaces(ret_why);
	if (r < 0)
		return r;
	/* Still possible: no file, no network, no other process; mounts, new namespaces. */

	/* Stage 3: no capability, none to be gained, no file, no debugger, no core. */
	r = drop_rights(ret_why);
	if (r == 0)
		r = become_monitor(parent, probe, ret_why);
	/* Still possible: all system calls, on what is open. Stage 4 is each thread's own. */
	return r;
}
