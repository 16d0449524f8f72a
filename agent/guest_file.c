/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests on files that are over at once: stat, mkdir, remove, rename, symlink, change, copy.
 * Paths are the guest's and are absolute; a link at the end of one is followed only when asked.
 */
#include "agent/guest.h"

#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* ---- what several need -------------------------------------------------------------- */

static uint64_t timespec_ns(const struct timespec *t)
{
	return t->tv_sec < 0 ? 0 : (uint64_t)t->tv_sec * NS_PER_S + (uint64_t)t->tv_nsec;
}

int entry_read(int dir, const char *name, bool follow, struct agent_entry *ret, char **ret_target)
{
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (fstatat(dir, name, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret = (struct agent_entry){
		.mode = st.st_mode,
		.uid = st.st_uid,
		.gid = st.st_gid,
		.size = (uint64_t)st.st_size,
		.mtime_ns = timespec_ns(&st.st_mtim),
		.links = (uint32_t)MIN(st.st_nlink, (nlink_t)UINT32_MAX),
		.inode = st.st_ino,
	};
	*ret_target = NULL;
	if (S_ISLNK(st.st_mode) && (n = readlinkat(dir, name, target, sizeof(target) - 1)) > 0) {
		target[n] = 0;
		*ret_target = strdup(target);
		if (!*ret_target)
			return -ENOMEM;
		ret->target = *ret_target;
	}
	return 0;
}

/* uid and gid that the request names; false: it names none. */
static int owner_of(const struct agent_file *f, uid_t *uid, gid_t *gid, bool *ret_named,
		    struct failure *why)
{
	struct guest_user u;
	int r = 0;

	*ret_named = f->flags & AGENT_FILE_OWNER || f->owner;
	*uid = f->uid;
	*gid = f->gid;
	if (f->owner) {
		r = user_lookup(f->owner, &u, why);
		*uid = r < 0 ? 0 : u.uid;
		*gid = r < 0 ? 0 : u.gid;
	}
	return r;
}

int file_change(int fd, const struct agent_file *f, struct failure *why)
{
	struct timespec times[2] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = (time_t)(f->mtime_ns / NS_PER_S),
		  .tv_nsec = (long)(f->mtime_ns % NS_PER_S) },
	};
	bool named;
	uid_t uid;
	gid_t gid;
	int r = owner_of(f, &uid, &gid, &named, why);

	if (r < 0)
		return r;
	/* The owner first: changing it takes set-user-id bits away. */
	if (named && fchown(fd, uid, gid) < 0)
		return fail(why, AGENT_STAGE_WRITE, errno, "the owner of %.200s", f->path);
	if (f->flags & AGENT_FILE_MODE && fchmod(fd, f->mode & 07777) < 0)
		return fail(why, AGENT_STAGE_WRITE, errno, "the mode of %.200s", f->path);
	if (f->flags & AGENT_FILE_TIME && futimens(fd, times) < 0)
		return fail(why, AGENT_STAGE_WRITE, errno, "the time of %.200s", f->path);
	return 0;
}

/* ---- the requests ------------------------------------------------------------------- */

static int do_mkdir(const struct agent_file *f, struct failure *why)
{
	mode_t mode = f->flags & AGENT_FILE_MODE ? f->mode & 07777 : 0755;
	struct agent_file change = *f;
	cleanup_close int fd = -1;
	struct stat st;

	if (f->flags & AGENT_FILE_PARENTS) {
		char above[PATH_MAX];
		char *slash;

		snprintf(above, sizeof(above), "%s", f->path);
		slash = strrchr(above, '/');
		*slash = 0;
		if (*above && make_folders(above) < 0)
			return fail(why, AGENT_STAGE_OPEN, errno, "%.200s", above);
	}
	if (mkdir(f->path, mode) < 0) {
		if (errno == EEXIST && f->flags & AGENT_FILE_PARENTS && stat(f->path, &st) == 0 &&
		    S_ISDIR(st.st_mode))
			return 0;
		return fail(why, AGENT_STAGE_OPEN, errno, "%.200s", f->path);
	}
	fd = open(f->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail(why, AGENT_STAGE_OPEN, errno, "%.200s", f->path);
	return file_change(fd, &change, why);
}

/* All below, without crossing into other file systems. fts(3) keeps no stack of ours. */
static int remove_tree(const char *path, struct failure *why)
{
	char *paths[] = { (char *)(uintptr_t)path, NULL };
	FTS *t = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOSTAT, NULL);
	FTSENT *e;
	int r = 0;

	if (!t)
		return fail(why, AGENT_STAGE_OPEN, errno, "%.200s", path);
	while (r == 0 && (e = fts_read(t))) {
		if (e->fts_info == FTS_D)
			continue;
		if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR)
			r = fail(why, AGENT_STAGE_WRITE, e->fts_errno, "%.200s", e->fts_path);
		else if ((e->fts_info == FTS_DP ? rmdir(e->fts_accpath) : unlink(e->fts_accpath)) < 0)
			r = fail(why, AGENT_STAGE_WRITE, errno, "%.200s", e->fts_path);
	}
	fts_close(t);
	return r;
}

static int do_remove(const struct agent_file *f, struct failure *why)
{
	struct stat st;

	if (lstat(f->path, &st) < 0)
		return fail(why, AGENT_STAGE_OPEN, errno, "%.200s", f->path);
	if (!S_ISDIR(st.st_mode))
		return unlink(f->path) < 0 ? fail(why, AGENT_STAGE_WRITE, errno, "%.200s", f->path)
					   : 0;
	if (f->flags & AGENT_FILE_RECURSIVE)
		return remove_tree(f->path, why);
	return rmdir(f->path) < 0 ? fail(why, AGENT_STAGE_WRITE, errno, "%.200s", f->path) : 0;
}

static int do_rename(const struct agent_file *f, struct failure *why)
{
	unsigned flags = f->flags & AGENT_FILE_NEW ? RENAME_NOREPLACE : 0;

	if (renameat2(AT_FDCWD, f->path, AT_FDCWD, f->to, flags) < 0)
		return fail(why, AGENT_STAGE_COMMIT, errno, "%.140s to %.140s", f->path, f->to);
	return 0;
}

static int do_symlink(const struct agent_file *f, struct failure *why)
{
	bool named;
	uid_t uid;
	gid_t gid;
	int r;

	if (symlink(f->to, f->path) < 0)
		return fail(why, AGENT_STAGE_OPEN, errno, "%.200s", f->path);
	r = owner_of(f, &uid, &gid, &named, why);
	if (r == 0 && named && lchown(f->path, uid, gid) < 0)
		r = fail(why, AGENT_STAGE_WRITE, errno, "the owner of %.200s", f->path);
	return r;
}

static int do_change(const struct agent_file *f, struct failure *why)
{
	int follow = f->flags & AGENT_FILE_FOLLOW ? 0 : O_NOFOLLOW;
	cleanup_close int fd = open(f->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | follow);

	if (fd < 0)
		return fail(why, AGENT_STAGE_OPEN, errno, "%.200s", f->path);
	return file_change(fd, f, why);
}

static int copy_bytes(int from, int to)
{
	static char chunk[65536];
	ssize_t n;
	int r;

	while ((n = copy_file_range(from, NULL, to, NULL, 1 << 30, 0)) > 0)
		;
	if (n == 0)
		return 0;
	/* Not between these two file systems. */
	while ((n = read(from, chunk, sizeof(chunk))) > 0)
		if ((r = fd_write_all(to, chunk, (size_t)n)) < 0)
			return r;
	return n < 0 ? -errno : 0;
}

static int do_copy(const struct agent_file *f, struct failure *why)
{
	cleanup_close int from = open(f->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), to = -1;
	int excl = f->flags & AGENT_FILE_NEW ? O_EXCL : 0;
	struct stat st;
	int r;

	if (from < 0 || fstat(from, &st) < 0)
		return fail(why, AGENT_STAGE_OPEN, errno, "%.200s", f->path);
	if (!S_ISREG(st.st_mode))
		return fail(why, AGENT_STAGE_OPEN, EINVAL, "%.200s is no regular file", f->path);
	to = open(f->to, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | excl,
		  st.st_mode & 0777);
	if (to < 0)
		return fail(why, AGENT_STAGE_OPEN, errno, "%.200s", f->to);
	r = copy_bytes(from, to);
	if (r < 0)
		return fail(why, AGENT_STAGE_WRITE, -r, "%.200s", f->to);
	return file_change(to, f, why);
}

/* ---- dispatch ----------------------------------------------------------------------- */

static const struct guest_stream_ops at_once = { 0 };

static int do_stat(struct guest_stream *s, const struct agent_file *f, struct failure *why)
{
	const char *slash = strrchr(f->path, '/');
	struct agent_entry e;
	char *target;
	int r = entry_read(AT_FDCWD, f->path, f->flags & AGENT_FILE_FOLLOW, &e, &target);

	if (r < 0)
		return fail(why, AGENT_STAGE_OPEN, -r, "%.200s", f->path);
	/* The root's name, and of what ends in a slash or dots. */
	e.name = slash[1] && !str_eq(slash, "/.") && !str_eq(slash, "/..") ? slash + 1 : "root";
	if (!stream_message(s, AGENT_ENTRY, &e))
		r = fail(why, AGENT_STAGE_LIMIT, EAGAIN, "too much waits for the host");
	free(target);
	return r;
}

static bool needs_to(uint16_t type)
{
	return type == AGENT_RENAME || type == AGENT_SYMLINK || type == AGENT_COPY;
}

void file_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
		const struct agent_file *f)
{
	struct guest_stream *s = stream_new(g, m, rules, sizeof(*s), &at_once);
	struct failure why;
	int r;

	if (!s)
		return;
	if (*f->path != '/' || strlen(f->path) >= PATH_MAX || (needs_to(m->type) && !f->to))
		r = fail(&why, AGENT_STAGE_REQUEST, EINVAL, "a path is missing or not absolute");
	else if (m->type == AGENT_STAT)
		r = do_stat(s, f, &why);
	else if (m->type == AGENT_MKDIR)
		r = do_mkdir(f, &why);
	else if (m->type == AGENT_REMOVE)
		r = do_remove(f, &why);
	else if (m->type == AGENT_RENAME)
		r = do_rename(f, &why);
	else if (m->type == AGENT_SYMLINK)
		r = do_symlink(f, &why);
	else if (m->type == AGENT_CHANGE)
		r = do_change(f, &why);
	else if (m->type == AGENT_COPY)
		r = do_copy(f, &why);
	else
		r = fail(&why, AGENT_STAGE_UNKNOWN, ENOSYS, "this agent has no such request");
	if (r < 0)
		stream_failed(s, &why);
	else
		stream_done(s);
}
