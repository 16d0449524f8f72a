/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default place of records:
 *   $XDG_STATE_HOME/weir/audit, else $HOME/.local/state/weir/audit,
 *   else (root without a HOME) /var/lib/weir/audit.
 *
 * Paths come from the environment of the person who runs weir; relative ones
 * are ignored, as the XDG specification asks. The directory holds what a sandbox did: nobody else may
 * read it or write to it, and one that belongs to somebody else is refused.
 */
#include "weir/state.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Records kept; older ones go when a run starts. */
#define STATE_RECORDS_KEEP 200
/* Entries of the directory that are looked at: a full directory must not stall a start. */
#define STATE_RECORDS_MAX 4096
static const char suffix[] = ".jsonl";

static int state_dir(char *out, size_t size)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n;

	if (xdg && xdg[0] == '/')
		n = snprintf(out, size, "%s/weir/audit", xdg);
	else if (home && home[0] == '/' && home[1])
		n = snprintf(out, size, "%s/.local/state/weir/audit", home);
	else if (geteuid() == 0)
		n = snprintf(out, size, "/var/lib/weir/audit");
	else
		return -ENOENT;
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int state_audit_dir(char **ret)
{
	char dir[PATH_MAX], *path;
	int r = state_dir(dir, sizeof(dir));

	if (r < 0)
		return r;
	path = strdup(dir);
	if (!path)
		return -ENOMEM;
	*ret = path;
	return 0;
}

/* mkdir -p; only what is made here gets 0700. */
static int make_dirs(char *path)
{
	for (char *p = path + 1;; p++) {
		char c = *p;

		if (c != '/' && c != 0)
			continue;
		*p = 0;
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return -errno;
		*p = c;
		if (c == 0)
			return 0;
	}
}

static int open_dir(const char *path, DIR **ret)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	DIR *d;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
		return -EPERM;
	d = fdopendir(fd);
	if (!d)
		return -errno;
	steal_fd(&fd);
	*ret = d;
	return 0;
}

struct entry {
	char name[NAME_MAX + 1];
	struct timespec mtime;
};

static int newest_first(const void *pa, const void *pb)
{
	const struct entry *a = pa, *b = pb;

	if (a->mtime.tv_sec != b->mtime.tv_sec)
		return a->mtime.tv_sec < b->mtime.tv_sec ? 1 : -1;
	if (a->mtime.tv_nsec != b->mtime.tv_nsec)
		return a->mtime.tv_nsec < b->mtime.tv_nsec ? 1 : -1;
	return strcmp(b->name, a->name);
}

static bool is_record(const char *name)
{
	size_t n = strlen(name);

	return name[0] != '.' && n >= sizeof(suffix) &&
	       str_eq(name + n - (sizeof(suffix) - 1), suffix);
}

/* Regular files that are records, newest first. */
static int read_entries(DIR *d, struct entry **ret, size_t *ret_n)
{
	size_t n = 0, size = 0;
	struct entry *list = NULL, *more;
	struct dirent *de;
	struct stat st;

	while (n < STATE_RECORDS_MAX && (de = readdir(d))) {
		if (!is_record(de->d_name) ||
		    fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		if (n == size) {
			size = size ? size * 2 : 64;
			more = reallocarray(list, size, sizeof(*list));
			if (!more) {
				free(list);
				return -ENOMEM;
			}
			list = more;
		}
		snprintf(list[n].name, sizeof(list[n].name), "%s", de->d_name);
		list[n++].mtime = st.st_mtim;
	}
	if (n)
		qsort(list, n, sizeof(*list), newest_first);
	*ret = list;
	*ret_n = n;
	return 0;
}

/* A record that a run still writes (it holds the lock) stays however old it is. */
static bool in_use(int dir, const char *name)
{
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static int prune(DIR *d)
{
	struct entry *list;
	size_t n;
	int r = read_entries(d, &list, &n);

	if (r < 0)
		return r;
	/* One less, since the caller is about to make one. */
	for (size_t i = STATE_RECORDS_KEEP - 1; i < n; i++)
		if (!in_use(dirfd(d), list[i].name) && unlinkat(dirfd(d), list[i].name, 0) < 0)
			r = errno == ENOENT ? r : -errno;
	free(list);
	return r;
}

int state_own_dir(const char *path, bool make, int *ret_fd)
{
	char copy[PATH_MAX];
	DIR *d;
	int r = 0, fd;

	if (path[0] != '/' || strlen(path) >= sizeof(copy))
		return -EINVAL;
	snprintf(copy, sizeof(copy), "%s", path);
	if (make)
		r = make_dirs(copy);
	if (r == 0)
		r = open_dir(path, &d);
	if (r < 0)
		return r;
	fd = fcntl(dirfd(d), F_DUPFD_CLOEXEC, 3);
	r = fd < 0 ? -errno : 0;
	closedir(d);
	if (r == 0)
		*ret_fd = fd;
	return r;
}

int state_audit_path(const char *run, char **ret)
{
	char dir[PATH_MAX], *path;
	DIR *d;
	int r;

	if (!run[0] || run[0] == '.' || strchr(run, '/') || strlen(run) > 128)
		return -EINVAL;
	r = state_dir(dir, sizeof(dir));
	if (r == 0)
		r = make_dirs(dir);
	if (r == 0)
		r = open_dir(dir, &d);
	if (r < 0)
		return r;
	/* Old records that cannot be removed are no reason not to run. */
	if (prune(d) < 0)
		log_warn("%s: old records could not be removed", dir);
	closedir(d);
	if (asprintf(&path, "%s/%s%s", dir, run, suffix) < 0)
		return -ENOMEM;
	*ret = path;
	return 0;
}

int state_audit_list(struct state_records *ret)
{
	struct state_records out = { 0 };
	struct entry *list;
	char dir[PATH_MAX];
	size_t n;
	DIR *d;
	int r;

	r = state_dir(dir, sizeof(dir));
	if (r == 0)
		r = open_dir(dir, &d);
	if (r < 0)
		return r;
	r = read_entries(d, &list, &n);
	closedir(d);
	if (r < 0)
		return r;
	out.paths = calloc(n + 1, sizeof(*out.paths));
	for (size_t i = 0; out.paths && i < n && r == 0; i++, out.n++)
		if (asprintf(&out.paths[i], "%s/%s", dir, list[i].name) < 0) {
			out.paths[i] = NULL;
			r = -ENOMEM;
		}
	free(list);
	if (!out.paths)
		r = -ENOMEM;
	else if (r == 0 && n == 0)
		r = -ENOENT;
	if (r < 0) {
		state_records_fini(&out);
		return r;
	}
	*ret = out;
	return 0;
}

void state_records_fini(struct state_records *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->paths[i]);
	free(r->paths);
	*r = (struct state_records){ 0 };
}
