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
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534

/* One line of a uid_map or gid_map: ids from first on exist in here. False: no more. */
static bool id_map_next(const char **at, unsigned long *ret_first, unsigned long *ret_n)
{
	char *end;

	if (!*at || !**at)
		return false;
	*ret_first = strtoul(*at, &end, 10);
	(void)strtoul(end, &end, 10);
	*ret_n = strtoul(end, &end, 10);
	end = strchr(end, '\n');
	*at = end ? end + 1 : NULL;
	return true;
}

/*
 * Root of a user namespace that somebody else made may have no nobody to turn
 * into; outside of it, that root is an ordinary user already.
 */
static bool nobody_exists(void)
{
	struct buf text = BUF_INIT(4096);
	bool found = false;
	const char *at = file_read("/proc/self/uid_map", 4096, &text) < 0 ? NULL : buf_str(&text);
	unsigned long first, n;

	while (!found && id_map_next(&at, &first, &n))
		found = first <= NOBODY && NOBODY - first < n;
	buf_fini(&text);
	return found;
}

static int step_failed(struct conf_error *err, const char *what)
{
	int r = -errno;

	conf_error_set(err, "cannot isolate a process: %s: %s", what, strerror(errno));
	return r;
}

void harden_close_others(const int *keep, size_t n)
{
	unsigned from = 3;

	for (;;) {
		unsigned next = ~0U;

		for (size_t i = 0; i < n; i++)
			if (keep[i] >= (int)from && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		if (next == ~0U) {
			close_range(from, ~0U, 0);
			return;
		}
		if (next > from)
			close_range(from, next - 1, 0);
		from = next + 1;
	}
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

static int write_file(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
}

/* The ids that exist in our own namespace, mapped one to one. */
static int identity_map(const char *own_map, struct buf *ret)
{
	struct buf text = BUF_INIT(4096);
	int r = file_read(own_map, 4096, &text);
	const char *at = r < 0 ? NULL : buf_str(&text);
	unsigned long first, n;

	while (r == 0 && id_map_next(&at, &first, &n))
		r = buf_printf(ret, "%lu %lu %lu\n", first, first, n);
	buf_fini(&text);
	return r;
}

static int write_map(pid_t pid, const char *kind, unsigned long id, bool all)
{
	struct buf map = BUF_INIT(4096);
	char path[64], own[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/%s_map", (int)pid, kind);
	snprintf(own, sizeof(own), "/proc/self/%s_map", kind);
	if (all)
		r = identity_map(own, &map);
	else
		r = buf_printf(&map, "%lu %lu 1\n", id, id);
	if (r == 0)
		r = buf_str(&map) ? write_file(path, buf_str(&map)) : -ENOMEM;
	buf_fini(&map);
	return r;
}

struct harden_ids harden_own_ids(void)
{
	return (struct harden_ids){ geteuid(), getegid() };
}

int harden_write_id_maps(pid_t pid, const struct harden_ids *ids, bool all_ids, struct conf_error *err)
{
	char path[64];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/setgroups", (int)pid);
	/* An unprivileged map may only be written once groups are frozen. */
	if (!all_ids)
		r = write_file(path, "deny");
	if (r == 0)
		r = write_map(pid, "uid", ids->uid, all_ids);
	if (r == 0)
		r = write_map(pid, "gid", ids->gid, all_ids);
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
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (!(bounding >> cap & 1) && prctl(PR_CAPBSET_DROP, cap) < 0 && errno != EINVAL)
			return -errno;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (int i = 0; i < 2; i++) {
		uint32_t half = (uint32_t)(keep >> (32 * i));

		data[i] = (struct __user_cap_data_struct){ half, half, 0 };
	}
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

/* An empty, read-only root: a tmpfs that is pivoted into and sealed. */
static int enter_empty_root(void)
{
	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
	    mount("none", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "size=4k,nr_inodes=2,mode=555") < 0 ||
	    chdir("/tmp") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 ||
	    mount(NULL, "/", NULL,
		  MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return -errno;
	return chdir("/") < 0 ? -errno : 0;
}

int harden_isolate(enum harden_role role, struct conf_error *err)
{
	int flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
	struct harden_ids ids;
	int r;

	/* Stage 2: whoever started us, we go on as nobody. */
	if (geteuid() == 0 && nobody_exists() &&
	    (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	     setresuid(NOBODY, NOBODY, NOBODY) < 0))
		return step_failed(err, "changing to an unprivileged user");
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
	r = enter_empty_root();
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
