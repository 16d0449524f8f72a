/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file from the host. Its bytes go to a file beside the target, which takes the
 * target's name only once all of them are there: whoever reads the target sees the old
 * file or the new one, whole. Appending is the exception, as it is for everybody.
 */
#include "agent/guest.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct put {
	struct guest_stream s;
	struct agent_file file; /* its texts are ours */
	char path[PATH_MAX], temp[PATH_MAX];
	char *owner;
	int fd;
};

static struct put *put_of(struct guest_stream *s)
{
	return container_of(s, struct put, s);
}

static void put_fail(struct put *p, enum agent_stage stage, int err)
{
	struct failure f;

	fail(&f, stage, err, "%.200s", p->path);
	stream_failed(&p->s, &f);
}

static void put_input(struct guest_stream *s, const uint8_t *bytes, size_t n)
{
	struct put *p = put_of(s);
	int r = fd_write_all(p->fd, bytes, n);

	if (r < 0)
		put_fail(p, AGENT_STAGE_WRITE, -r);
	else
		stream_consumed(s, n);
}

/* Mode and owner of what is replaced, where the request says nothing. */
static void inherit(struct put *p)
{
	struct stat st;

	if (lstat(p->path, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	if (!(p->file.flags & AGENT_FILE_MODE)) {
		p->file.mode = st.st_mode & 07777;
		p->file.flags |= AGENT_FILE_MODE;
	}
	if (!(p->file.flags & AGENT_FILE_OWNER) && !p->file.owner) {
		p->file.uid = st.st_uid;
		p->file.gid = st.st_gid;
		p->file.flags |= AGENT_FILE_OWNER;
	}
}

static void put_eof(struct guest_stream *s)
{
	struct put *p = put_of(s);
	unsigned flags = p->file.flags & AGENT_FILE_NEW ? RENAME_NOREPLACE : 0;
	struct failure f;

	if (*p->temp)
		inherit(p);
	if (file_change(p->fd, &p->file, &f) < 0) {
		stream_failed(s, &f);
		return;
	}
	if (*p->temp && renameat2(AT_FDCWD, p->temp, AT_FDCWD, p->path, flags) < 0) {
		put_fail(p, AGENT_STAGE_COMMIT, errno);
		return;
	}
	*p->temp = 0;
	stream_done(s);
}

static void put_close(struct guest_stream *s)
{
	put_fail(put_of(s), AGENT_STAGE_CLOSED, ECANCELED);
}

static void put_free(struct guest_stream *s)
{
	struct put *p = put_of(s);

	if (*p->temp)
		unlink(p->temp);
	fd_close(p->fd);
	free(p->owner);
}

static const struct guest_stream_ops put_ops = {
	.input = put_input,
	.eof = put_eof,
	.close = put_close,
	.free = put_free,
};

/* A link at the end of the path, followed when that was asked. */
static int resolve(struct put *p, const struct agent_file *f)
{
	char *real = f->flags & AGENT_FILE_FOLLOW ? realpath(f->path, NULL) : NULL;
	int n = snprintf(p->path, sizeof(p->path), "%s", real ? real : f->path);

	free(real);
	return n < (int)sizeof(p->path) ? 0 : -ENAMETOOLONG;
}

static int open_temp(struct put *p)
{
	char *slash = strrchr(p->path, '/');
	uint64_t random;
	int n;

	random_bytes(&random, sizeof(random));
	n = snprintf(p->temp, sizeof(p->temp), "%.*s/.weir-%016llx", (int)(slash - p->path),
		     p->path, (unsigned long long)random);
	if (n >= (int)sizeof(p->temp)) {
		*p->temp = 0;
		return -ENAMETOOLONG;
	}
	p->fd = open(p->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (p->fd < 0) {
		*p->temp = 0;
		return -errno;
	}
	/* Until it is whole it is nobody's but root's; then as the request says. */
	if (!(p->file.flags & AGENT_FILE_MODE) && fchmod(p->fd, 0644) < 0)
		return -errno;
	return 0;
}

static int open_append(struct put *p)
{
	struct stat st;

	p->fd = open(p->path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		     0644);
	if (p->fd < 0 || fstat(p->fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? 0 : -EINVAL;
}

static int open_target(struct put *p)
{
	struct stat st;

	if (p->file.flags & AGENT_FILE_PARENTS) {
		char above[PATH_MAX];

		snprintf(above, sizeof(above), "%s", p->path);
		*strrchr(above, '/') = 0;
		if (*above && make_folders(above) < 0)
			return -errno;
	}
	if (p->file.flags & AGENT_FILE_APPEND)
		return open_append(p);
	/* Said before the bytes come, not after. */
	if (lstat(p->path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return -EISDIR;
		if (p->file.flags & AGENT_FILE_NEW)
			return -EEXIST;
	}
	return open_temp(p);
}

void put_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
	       const struct agent_file *f)
{
	struct put *p = stream_new(g, m, rules, sizeof(*p), &put_ops);
	int r;

	if (!p)
		return;
	p->fd = -1;
	r = *f->path == '/' ? resolve(p, f) : -EINVAL;
	p->file = *f;
	p->file.path = p->path;
	p->file.owner = NULL;
	if (r == 0 && f->owner) {
		p->owner = strdup(f->owner);
		p->file.owner = p->owner;
		r = p->owner ? 0 : -ENOMEM;
	}
	if (r == 0)
		r = open_target(p);
	if (r < 0)
		put_fail(p, AGENT_STAGE_OPEN, -r);
}
