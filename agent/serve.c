/* SPDX-License-Identifier: Apache-2.0 */
/* See serve.h. Sending only appends; a task of the loop writes. */
#include "agent/serve.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#define READS_MAX 8

static bool may_read(const struct served *s)
{
	return !s->ops->may_read || s->ops->may_read(s);
}

/* False: the client is gone. */
static bool flush(struct served *s)
{
	while (s->out.len) {
		ssize_t n = send(s->fd, buf_at(&s->out), s->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			s->ops->gone(s);
			return false;
		}
		buf_consume(&s->out, (size_t)n);
	}
	if (!s->out.len)
		buf_reset(&s->out);
	loop_io_set(&s->io, (may_read(s) ? EPOLLIN : 0) | (s->out.len ? EPOLLOUT : 0));
	return true;
}

static void flush_task(struct loop_task *t)
{
	flush(container_of(t, struct served, flush));
}

void served_queue(struct served *s, int r)
{
	if (r < 0)
		shutdown(s->fd, SHUT_RDWR);
	else
		loop_task_queue(s->loop, &s->flush);
}

void served_refuse(struct served *s, uint32_t id, enum agent_stage stage, int err, const char *text)
{
	struct agent_failed f = { stage, (uint32_t)err, text };

	served_queue(s, frames_write_message(&s->out, id, AGENT_FAILED, &f));
}

void served_read_on(struct served *s)
{
	loop_io_set(&s->io, s->io.events | EPOLLIN);
}

static int receive(struct served *s)
{
	struct agent_message m;

	for (int i = 0; i < READS_MAX; i++) {
		uint8_t *p;
		size_t room;
		ssize_t n;
		int r;

		if (!may_read(s)) {
			loop_io_set(&s->io, s->io.events & ~(uint32_t)EPOLLIN);
			return 0;
		}
		r = frames_room(&s->in, &p, &room);
		if (r < 0)
			return r;
		n = recv(s->fd, p, room, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		frames_filled(&s->in, (size_t)n);
		while ((r = frames_next(&s->in, &m)) > 0) {
			r = s->ops->message(s, &m);
			if (r < 0)
				break;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static void on_io(struct loop_io *io, uint32_t events)
{
	struct served *s = container_of(io, struct served, io);

	if (events & EPOLLOUT && !flush(s))
		return;
	/* A hang-up is told at every turn: who may not be read now is let go, or the loop would spin. */
	if ((events & (EPOLLHUP | EPOLLERR) && !may_read(s)) ||
	    (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && receive(s) < 0))
		s->ops->gone(s);
}

int served_start(struct served *s, struct loop *l, int fd, size_t out_max,
		 const struct agent_hello *hello, const struct served_ops *ops)
{
	int r;

	*s = (struct served){
		.loop = l,
		.ops = ops,
		.fd = fd,
		.flush = { .cb = flush_task },
		.out = BUF_INIT(out_max),
	};
	frames_init(&s->in, AGENT_MESSAGE_MAX);
	r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = frames_write_message(&s->out, 0, AGENT_HELLO, hello);
	if (r == 0)
		r = frames_write_message(&s->out, 0, AGENT_READY, NULL);
	if (r == 0)
		r = loop_io_add(l, &s->io, fd, EPOLLIN, on_io);
	if (r < 0) {
		frames_fini(&s->in);
		buf_fini(&s->out);
		return r;
	}
	loop_task_queue(l, &s->flush);
	return 0;
}

void served_stop(struct served *s)
{
	loop_task_cancel(s->loop, &s->flush);
	loop_io_del(&s->io);
	fd_close(s->fd);
	frames_fini(&s->in);
	buf_fini(&s->out);
}
