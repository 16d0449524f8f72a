/* SPDX-License-Identifier: Apache-2.0 */
/* Single steps of giving up rights; which, and in what order, is each process's own. */
#include "base/base.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void rights_close_others(const int *keep, size_t n)
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

/* ---- ids ---------------------------------------------------------------- */

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

bool rights_nobody_exists(void)
{
	struct buf text = BUF_INIT(4096);
	bool found = false;
	const char *at = file_read("/proc/self/uid_map", 4096, &text) < 0 ? NULL : buf_str(&text);
	unsigned long first, n;

	while (!found && id_map_next(&at, &first, &n))
		found = first <= RIGHTS_NOBODY && RIGHTS_NOBODY - first < n;
	buf_fini(&text);
	return found;
}

int rights_become(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

int rights_become_nobody(void)
{
	return rights_nobody_exists() ? rights_become(RIGHTS_NOBODY, RIGHTS_NOBODY) : -ENOENT;
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

static int write_map(const char *proc, const char *kind, unsigned long id, bool all)
{
	struct buf map = BUF_INIT(4096);
	char path[64], own[64];
	int r;

	snprintf(path, sizeof(path), "%s/%s_map", proc, kind);
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

int rights_write_id_maps(pid_t pid, uid_t uid, gid_t gid, bool all)
{
	char proc[32] = "/proc/self", path[64];
	int r = 0;

	if (pid)
		snprintf(proc, sizeof(proc), "/proc/%d", (int)pid);
	snprintf(path, sizeof(path), "%s/setgroups", proc);
	/* An unprivileged map may only be written once groups are frozen. */
	if (!all)
		r = write_file(path, "deny");
	if (r == 0)
		r = write_map(proc, "uid", uid, all);
	if (r == 0)
		r = write_map(proc, "gid", gid, all);
	return r;
}

int rights_write_other_ids(pid_t pid, uid_t uid, gid_t gid)
{
	char proc[32];
	int r;

	snprintf(proc, sizeof(proc), "/proc/%d", (int)pid);
	r = write_map(proc, "uid", uid, false);
	return r == 0 ? write_map(proc, "gid", gid, false) : r;
}

/* ---- files and capabilities --------------------------------------------- */

/* From the folder we are in on, everything else is gone. */
static int make_root_here(bool cover)
{
	if (syscall(SYS_pivot_root, ".", ".") == 0)
		return umount2(".", MNT_DETACH) < 0 ? -errno : 0;
	if (errno != EINVAL || !cover || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
		return -errno;
	return 0;
}

int rights_enter_empty_root(bool cover)
{
	int r;

	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
	    mount("none", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "size=4k,nr_inodes=2,mode=555") < 0 ||
	    chdir("/tmp") < 0)
		return -errno;
	r = make_root_here(cover);
	if (r == 0 &&
	    (chdir("/") < 0 ||
	     mount(NULL, "/", NULL,
		   MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0))
		r = -errno;
	return r;
}

int rights_bound_capabilities(uint64_t bounding)
{
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (!(bounding >> cap & 1) && prctl(PR_CAPBSET_DROP, cap) < 0 && errno != EINVAL)
			return -errno;
	return 0;
}

int rights_keep_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (int i = 0; i < 2; i++) {
		uint32_t half = (uint32_t)(keep >> (32 * i));

		data[i] = (struct __user_cap_data_struct){ half, half, 0 };
	}
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

uint64_t rights_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { { 0 } };

	if (syscall(SYS_capget, &head, d) < 0)
		return ~UINT64_C(0);
	return (d[0].permitted | d[0].effective | d[0].inheritable) |
	       (uint64_t)(d[1].permitted | d[1].effective | d[1].inheritable) << 32;
}

int rights_limit(int what, uint64_t n)
{
	struct rlimit l;

	/* One that is tighter already stays; raising it would be refused. */
	if (getrlimit((__rlimit_resource_t)what, &l) < 0)
		return -errno;
	l.rlim_max = MIN(l.rlim_max, (rlim_t)n);
	l.rlim_cur = l.rlim_max;
	return setrlimit((__rlimit_resource_t)what, &l) < 0 ? -errno : 0;
}

/* ---- Landlock ------------------------------------------------------------ */

/* As far as it has to do with files that are no folders; the rest cannot be said of one. */
#define OF_FILES                                                                                   \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |                              \
	 LANDLOCK_ACCESS_FS_READ_FILE | RIGHTS_TRUNCATE)
#define RIGHTS_TRUNCATE 0x4000 /* since version 3 */
#define RIGHTS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define RIGHTS_KEEP                                                                                \
	(RIGHTS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |               \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | RIGHTS_TRUNCATE)

/* Every right that this version knows, so that what is not allowed below is forbidden. */
static uint64_t landlock_fs(long abi)
{
	uint64_t fs = 0x1fff;

	if (abi >= 2)
		fs |= 0x2000; /* rename across directories */
	if (abi >= 3)
		fs |= RIGHTS_TRUNCATE;
	if (abi >= 5)
		fs |= 0x8000; /* ioctl on devices that are opened from now on */
	return fs;
}

static int landlock_allow(int ruleset, uint64_t known, const struct rights_path *p)
{
	cleanup_close int fd = open(p->path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = { .parent_fd = fd };
	struct stat st;

	/* What is not there cannot be reached either. */
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	rule.allowed_access = (p->write ? RIGHTS_KEEP : RIGHTS_READ) & known;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= OF_FILES;
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
		       ? -errno
		       : 0;
}

int rights_forbid_files(const struct rights_path *but, size_t n)
{
	struct {
		uint64_t fs, net, scoped;
	} ruleset = { .net = 0x3, .scoped = 0x3 };
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
	cleanup_close int fd = -1;
	int r = 0;

	if (abi < 1)
		return -ENOTSUP;
	ruleset.fs = landlock_fs(abi);
	fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, size, 0);
	if (fd < 0)
		return -errno;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = landlock_allow(fd, ruleset.fs, &but[i]);
	if (r == 0 && syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		r = -errno;
	return r;
}
