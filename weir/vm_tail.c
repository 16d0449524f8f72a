/* SPDX-License-Identifier: Apache-2.0 */
#include "weir/vm_tail.h"

#include <sys/epoll.h>
#include <unistd.h>

/* Lines that are told. */
#define LINES 12

static void keep(struct vm_tail *t, const char *p, size_t n)
{
	size_t drop = t->len + n > sizeof(t->text) ? t->len + n - sizeof(t->text) : 0;

	memmove(t->text, t->text + drop, t->len - drop);
	t->len -= drop;
	memcpy(t->text + t->len, p, n);
	t->len += n;
}

/* False: nothing more now, or ever. */
static bool read_some(struct vm_tail *t)
{
	char chunk[1024];
	ssize_t n = read(t->fd, chunk, sizeof(chunk));

	if (n > 0)
		keep(t, chunk, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		loop_io_del(&t->io);
	return n > 0;
}

static void on_readable(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	(void)read_some(container_of(io, struct vm_tail, io));
}

int vm_tail_start(struct vm_tail *t, struct loop *l, const char *name, int fd)
{
	int r = fd_set_nonblock(fd, true);

	*t = (struct vm_tail){ .name = name, .fd = fd };
	return r < 0 ? r : loop_io_add(l, &t->io, fd, EPOLLIN, on_readable);
}

void vm_tail_tell(struct vm_tail *t)
{
	char quoted[4 * 256];
	size_t from, lines = 0;

	while (t->fd >= 0 && t->io.loop && read_some(t))
		;
	for (from = t->len; from > 0 && lines <= LINES; from--)
		lines += t->text[from - 1] == '\n';
	if (from)
		from++;
	while (from < t->len) {
		const char *end = memchr(t->text + from, '\n', t->len - from);
		size_t n = end ? (size_t)(end - (t->text + from)) : t->len - from;

		if (n && t->text[from + n - 1] == '\r')
			log_quote(t->text + from, MIN(n - 1, (size_t)200), quoted, sizeof(quoted));
		else
			log_quote(t->text + from, MIN(n, (size_t)200), quoted, sizeof(quoted));
		if (quoted[0])
			log_line(LOG_LEVEL_ERROR, "  %s: %s", t->name, quoted);
		from += n + 1;
	}
	t->len = 0;
}

void vm_tail_stop(struct vm_tail *t)
{
	loop_io_del(&t->io);
	fd_close(t->fd);
	t->fd = -1;
}
