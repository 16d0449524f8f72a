/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To the host: the bytes of a file, the entries of a folder. Both go as far as
 * credit and the port's buffer allow, and on when pumped; neither keeps more than one piece.
 */
#include "agent/guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a file ------------------------------------------------------------------------- */

struct get {
	struct guest_stream s;
	int fd;
	bool limited;
	uint64_t left;
};

static struct get *get_of(struct guest_stream *s)
{
	return container_of(s, struct get, s);
}

static void get_pump(struct guest_stream *s)
{
	static uint8_t chunk[AGENT_BODY_MAX];
	struct get *t = get_of(s);
	size_t room;

	while ((room = stream_room(s))) {
		struct failure f;
		ssize_t n;

		if (t->limited && t->left < room)
			room = (size_t)t->left;
		n = room ? read(t->fd, chunk, room) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fail(&f, AGENT_STAGE_READ, errno, "the file");
			stream_failed(s, &f);
			return;
		}
		if (n == 0) {
			stream_done(s);
			return;
		}
		t->left -= (uint64_t)n;
		stream_bytes(s, AGENT_OUTPUT, chunk, (size_t)n);
	}
}

static void closed(struct guest_stream *s)
{
	struct failure f;

	fail(&f, AGENT_STAGE_CLOSED, ECANCELED, "closed");
	stream_failed(s, &f);
}

static void get_free(struct guest_stream *s)
{
	fd_close(get_of(s)->fd);
}

static const struct guest_stream_ops get_ops = {
	.close = closed,
	.pump = get_pump,
	.free = get_free,
};

static int get_open(struct get *t, const struct agent_file *f, struct failure *why)
{
	int follow = f->flags & AGENT_FILE_FOLLOW ? 0 : O_NOFOLLOW;
	struct stat st;

	t->fd = open(f->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | follow);
	if (t->fd < 0 || fstat(t->fd, &st) < 0)
		return fail(why, AGENT_STAGE_OPEN, errno, "%.200s", f->path);
	if (!S_ISREG(st.st_mode))
		return fail(why, AGENT_STAGE_OPEN, S_ISDIR(st.st_mode) ? EISDIR : EINVAL,
			    "%.200s is no regular file", f->path);
	if (f->offset && lseek(t->fd, (off_t)MIN(f->offset, (uint64_t)INT64_MAX), SEEK_SET) < 0)
		return fail(why, AGENT_STAGE_READ, errno, "%.200s cannot be read from there",
			    f->path);
	t->limited = f->length;
	t->left = f->length;
	return 0;
}

void get_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
	       const struct agent_file *f)
{
	struct get *t = stream_new(g, m, rules, sizeof(*t), &get_ops);
	char *target = NULL;
	struct agent_entry e;
	struct failure why;
	int r;

	if (!t)
		return;
	t->fd = -1;
	if (*f->path != '/')
		r = fail(&why, AGENT_STAGE_REQUEST, EINVAL, "the path is not absolute");
	else
		r = get_open(t, f, &why);
	if (r == 0) {
		char self[64];

		snprintf(self, sizeof(self), "/proc/self/fd/%d", t->fd);
		r = entry_read(AT_FDCWD, self, true, &e, &target);
		e.name = strrchr(f->path, '/') + 1;
		if (r < 0)
			r = fail(&why, AGENT_STAGE_READ, -r, "%.200s", f->path);
		else if (!stream_message(&t->s, AGENT_ENTRY, &e))
			r = fail(&why, AGENT_STAGE_LIMIT, EAGAIN, "too much waits for the host");
		free(target);
	}
	if (r < 0)
		stream_failed(&t->s, &why);
	else
		get_pump(&t->s);
}

/* ---- a folder ----------------------------------------------------------------------- */

struct listing {
	struct guest_stream s;
	DIR *dir;
	char pending[NAME_MAX + 1]; /* read, and not sent for want of credit */
};

static struct listing *listing_of(struct guest_stream *s)
{
	return container_of(s, struct listing, s);
}

/* The next name; false: there is none, *ret_err says whether that is the end. */
static bool next_name(struct listing *l, int *ret_err)
{
	struct dirent *e;

	if (*l->pending)
		return true;
	do {
		errno = 0;
		e = readdir(l->dir);
	} while (e && (str_eq(e->d_name, ".") || str_eq(e->d_name, "..")));
	*ret_err = e ? 0 : errno;
	if (e)
		snprintf(l->pending, sizeof(l->pending), "%s", e->d_name);
	return e;
}

static void list_pump(struct guest_stream *s)
{
	struct listing *l = listing_of(s);
	struct failure f;
	int err = 0;

	while (stream_room(s) && next_name(l, &err)) {
		struct agent_entry e;
		char *target = NULL;
		bool sent = true;

		/* One that is gone meanwhile is no entry. */
		if (entry_read(dirfd(l->dir), l->pending, false, &e, &target) == 0) {
			e.name = l->pending;
			sent = stream_message(s, AGENT_ENTRY, &e);
			free(target);
		}
		if (!sent)
			return;
		*l->pending = 0;
	}
	if (*l->pending || !stream_room(s))
		return;
	if (err) {
		fail(&f, AGENT_STAGE_READ, err, "the folder");
		stream_failed(s, &f);
	} else {
		stream_done(s);
	}
}

static void list_free(struct guest_stream *s)
{
	if (listing_of(s)->dir)
		closedir(listing_of(s)->dir);
}

static const struct guest_stream_ops list_ops = {
	.close = closed,
	.pump = list_pump,
	.free = list_free,
};

void list_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
		const struct agent_file *f)
{
	struct listing *l = stream_new(g, m, rules, sizeof(*l), &list_ops);
	int follow = f->flags & AGENT_FILE_FOLLOW ? 0 : O_NOFOLLOW;
	struct failure why;
	int fd;

	if (!l)
		return;
	fd = *f->path == '/' ? open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow) : -1;
	l->dir = fd < 0 ? NULL : fdopendir(fd);
	if (l->dir) {
		list_pump(&l->s);
		return;
	}
	fail(&why, AGENT_STAGE_OPEN, *f->path == '/' ? errno : EINVAL, "%.200s", f->path);
	fd_close(fd);
	stream_failed(&l->s, &why);
}
