/* SPDX-License-Identifier: Apache-2.0 */
/* Single steps of giving up rights; which, and in what order, is each process's own. */
#include "base/base.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534

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

int rights_become_nobody(void)
{
	if (!nobody_exists())
		return -ENOENT;
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return -errno;
	return 0;
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
