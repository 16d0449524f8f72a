/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving up rights, in stages. After each stage a comment says what is still
 * possible, so that a reader can check it against the process's job.
 *
 * The order matters twice: changing credentials makes a process non-dumpable
 * and clears its parent-death signal, and a non-dumpable process cannot write
 * its own id maps. Both are therefore set again at the end.
 */
#include "weir/harden.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static int step_failed(struct conf_error *err, const char *what)
{
	int r = -errno;

	conf_error_set(err, "cannot isolate a process: %s: %s", what, strerror(errno));
	return r;
}

void harden_begin(const char *name, pid_t parent)
{
	struct rlimit none = { 0, 0 }, files;
	sigset_t empty;

	sigemptyset(&empty);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	signal(SIGPIPE, SIG_IGN);
	setsid();
	/* Until the loop runs nobody watches the supervisor's channel. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	prctl(PR_SET_NAME, name);
	setrlimit(RLIMIT_CORE, &none);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

struct harden_ids harden_own_ids(void)
{
	return (struct harden_ids){ geteuid(), getegid() };
}

int harden_write_id_maps(pid_t pid, const struct harden_ids *ids, bool all_ids, struct conf_error *err)
{
	int r = rights_write_id_maps(pid, ids->uid, ids->gid, all_ids);

	if (r < 0)
		conf_error_set(err, "cannot map user ids into a new user namespace: %s",
			       strerror(-r));
	return r;
}

const char *harden_why_no_namespaces(int e)
{
	switch (e) {
	case ENOSPC:
		return "user.max_user_namespaces (or another limit of /proc/sys/user) is used up: "
		       "sysctl -w user.max_user_namespaces=10000";
	case EUSERS:
		return "user namespaces are nested too deeply here";
	case EPERM:
		return "impossible in a chroot; elsewhere: sysctl -w "
		       "kernel.unprivileged_userns_clone=1 "
		       "or kernel.apparmor_restrict_unprivileged_userns=0 where they exist, or a "
		       "container that lets its processes make user namespaces";
	default:
		return "the kernel lacks a kind of namespace, or a filter forbids it";
	}
}

static int drop_capabilities(uint64_t keep, uint64_t bounding)
{
	int r = rights_bound_capabilities(bounding);

	return r == 0 ? rights_keep_capabilities(keep) : r;
}

int harden_isolate(enum harden_role role, struct conf_error *err)
{
	int flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
	struct harden_ids ids;
	int r;

	/* Stage 2: whoever started us, we go on as nobody. */
	r = geteuid() == 0 ? rights_become_nobody() : 0;
	if (r < 0 && r != -ENOENT) {
		errno = -r;
		return step_failed(err, "changing to an unprivileged user");
	}
	/* Still possible: what nobody may do to files, processes, the network. */

	/* Stage 3: namespaces of our own; the tlsproxy has no network in its. */
	prctl(PR_SET_DUMPABLE, 1);
	ids = harden_own_ids();
	if (role == HARDEN_TLSPROXY)
		flags |= CLONE_NEWNET;
	if (unshare(flags) < 0) {
		r = -errno;
		conf_error_set(err, "cannot isolate a process: new namespaces: %s; %s",
			       strerror(-r), harden_why_no_namespaces(-r));
		return r;
	}
	r = harden_write_id_maps(getpid(), &ids, false, err);
	if (r < 0)
		return r;
	r = rights_enter_empty_root(false);
	if (r < 0) {
		errno = -r;
		return step_failed(err, "an empty root directory");
	}
	/* Still possible: no file exists any more; descriptors and sockets. */

	/* Stage 4: no capability, none to be gained, no debugger. */
	r = drop_capabilities(0, 0);
	if (r < 0) {
		errno = -r;
		return step_failed(err, "dropping capabilities");
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return step_failed(err, "no_new_privs");
	prctl(PR_SET_DUMPABLE, 0);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return step_failed(err, "parent-death signal");
	return 0;
}

int harden_command(bool keep_root_caps, struct conf_error *err)
{
	/*
	 * A root sandbox keeps what installing packages and serving ports
	 * takes. Not kept: SYS_ADMIN (it could lift our mounts), NET_ADMIN (its
	 * network is ours), SYS_PTRACE, SYS_MODULE, and everything else.
	 */
	const uint64_t root_caps = 1ULL << CAP_CHOWN | 1ULL << CAP_DAC_OVERRIDE |
				   1ULL << CAP_FOWNER | 1ULL << CAP_FSETID | 1ULL << CAP_KILL |
				   1ULL << CAP_SETGID | 1ULL << CAP_SETUID | 1ULL << CAP_SETPCAP |
				   1ULL << CAP_NET_BIND_SERVICE | 1ULL << CAP_NET_RAW |
				   1ULL << CAP_SYS_CHROOT | 1ULL << CAP_SETFCAP;
	/*
	 * An ordinary user's command has none, and no_new_privs keeps it so. The
	 * bounding set is the same for both: a program with file capabilities, as
	 * ping, does not even start when one of them is outside of it.
	 */
	int r = drop_capabilities(keep_root_caps ? root_caps : 0, root_caps);

	if (r < 0) {
		errno = -r;
		return step_failed(err, "dropping capabilities");
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return step_failed(err, "no_new_privs");
	return 0;
}

int harden_program(struct conf_error *err)
{
	int r = drop_capabilities(0, 0);

	if (r < 0) {
		errno = -r;
		return step_failed(err, "dropping capabilities");
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return step_failed(err, "no_new_privs");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return step_failed(err, "parent-death signal");
	return 0;
}
