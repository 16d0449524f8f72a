/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to a port of the guest's loopback, for what listens there alone. Each
 * direction ends by itself; the stream ends with the second, or at the first error.
 */
#include "agent/guest.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_MAX 32768

struct link {
	struct guest_stream s;
	int fd;
	struct loop_io io;
	struct buf input;
	uint16_t port;
	bool tried6, connected;
	bool in_ended, out_ended; /* the host's EOF went out; the server's came */
	bool eof;
};

static struct link *link_of(struct guest_stream *s)
{
	return container_of(s, struct link, s);
}

static void link_fail(struct link *l, enum agent_stage stage, int err)
{
	struct failure f;

	fail(&f, stage, err, "port %u of the guest", l->port);
	stream_failed(&l->s, &f);
}

static void on_link(struct loop_io *io, uint32_t events);

/* What is waited for now; a descriptor with nothing to wait for leaves the loop. */
static void link_watch(struct link *l)
{
	uint32_t events = !l->connected ? EPOLLOUT
					: (!l->out_ended && stream_room(&l->s) ? EPOLLIN : 0) |
						  (l->input.len ? EPOLLOUT : 0);

	if (l->s.ended)
		return;
	if (!events)
		loop_io_del(&l->io);
	else if (l->io.loop)
		loop_io_set(&l->io, events);
	else if (loop_io_add(l->s.g->loop, &l->io, l->fd, events, on_link) < 0)
		link_fail(l, AGENT_STAGE_MEMORY, ENOMEM);
}

static void link_write(struct link *l)
{
	while (l->connected && l->input.len) {
		ssize_t n = send(l->fd, buf_at(&l->input), l->input.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			link_fail(l, AGENT_STAGE_WRITE, errno);
			return;
		}
		buf_consume(&l->input, (size_t)n);
		stream_consumed(&l->s, (size_t)n);
	}
	if (l->connected && l->eof && !l->in_ended) {
		shutdown(l->fd, SHUT_WR);
		l->in_ended = true;
	}
}

static void link_read(struct link *l)
{
	static uint8_t chunk[READ_MAX];
	size_t room = MIN(stream_room(&l->s), sizeof(chunk));
	ssize_t n;

	if (!l->connected || l->out_ended || !room)
		return;
	n = recv(l->fd, chunk, room, 0);
	if (n > 0)
		stream_bytes(&l->s, AGENT_OUTPUT, chunk, (size_t)n);
	else if (n == 0)
		l->out_ended = true;
	else if (errno != EAGAIN && errno != EINTR)
		link_fail(l, AGENT_STAGE_READ, errno);
}

static void link_pump(struct guest_stream *s)
{
	struct link *l = link_of(s);

	link_write(l);
	if (!s->ended)
		link_read(l);
	if (s->ended)
		return;
	if (l->in_ended && l->out_ended)
		stream_done(s);
	else
		link_watch(l);
}

static int begin_connect(struct link *l)
{
	struct sockaddr_in a4 = { .sin_family = AF_INET,
				  .sin_port = htons(l->port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6,
				   .sin6_port = htons(l->port),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	const struct sockaddr *a = l->tried6 ? (const void *)&a6 : (const void *)&a4;
	socklen_t len = l->tried6 ? sizeof(a6) : sizeof(a4);

	l->fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return -errno;
	return connect(l->fd, a, len) < 0 && errno != EINPROGRESS ? -errno : 0;
}

/* Some servers listen on one loopback address alone. */
static void next_family(struct link *l, int err)
{
	int r = -err;

	loop_io_del(&l->io);
	fd_close(steal_fd(&l->fd));
	if (!l->tried6) {
		l->tried6 = true;
		r = begin_connect(l);
	}
	if (r < 0)
		link_fail(l, AGENT_STAGE_CONNECT, err);
	else
		link_watch(l);
}

static void on_connected(struct link *l)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 || err) {
		next_family(l, err ? err : errno);
		return;
	}
	l->connected = true;
	if (!stream_message(&l->s, AGENT_STARTED, &(struct agent_started){ 0 }))
		link_fail(l, AGENT_STAGE_MEMORY, ENOMEM);
	else
		link_pump(&l->s);
}

static void on_link(struct loop_io *io, uint32_t events)
{
	struct link *l = container_of(io, struct link, io);

	(void)events;
	if (l->connected)
		link_pump(&l->s);
	else
		on_connected(l);
}

static void link_input(struct guest_stream *s, const uint8_t *p, size_t n)
{
	struct link *l = link_of(s);

	if (buf_append(&l->input, p, n) < 0)
		link_fail(l, AGENT_STAGE_MEMORY, ENOMEM);
	else
		link_pump(s);
}

static void link_eof(struct guest_stream *s)
{
	link_of(s)->eof = true;
	link_pump(s);
}

static void link_close(struct guest_stream *s)
{
	link_fail(link_of(s), AGENT_STAGE_CLOSED, ECANCELED);
}

static void link_free(struct guest_stream *s)
{
	struct link *l = link_of(s);

	loop_io_del(&l->io);
	fd_close(l->fd);
	buf_fini(&l->input);
}

static const struct guest_stream_ops link_ops = {
	.input = link_input,
	.eof = link_eof,
	.close = link_close,
	.pump = link_pump,
	.free = link_free,
};

void connect_begin(struct guest *g, const struct agent_message *m, const struct rules *rules,
		   const struct agent_connect *c)
{
	struct link *l = stream_new(g, m, rules, sizeof(*l), &link_ops);
	int r;

	if (!l)
		return;
	l->port = (uint16_t)c->port;
	l->input = BUF_INIT(AGENT_WINDOW);
	r = begin_connect(l);
	if (r < 0)
		next_family(l, -r);
	else
		link_watch(l);
}
