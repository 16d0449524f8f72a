/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several local clients on one connection to the agent.
 *
 *   client 1 ─ id 5 ─┐
 *   client 2 ─ id 5 ─┴─ relay ─ ids of ours ─ agent
 *
 * Clients are programs of the same user; the guest behind is hostile, and its messages have
 * been checked (client_stream.c) before they come here. Credit is between a client and the
 * guest: the relay passes it on and counts, so what waits here for a client that does not
 * read is bounded by the windows of its streams.
 */
#include "agent/client_int.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Streams of one client; the others get their share of the agent's. */
#define CLIENT_STREAMS_MAX 64
/* All its windows full, and the answers beside them. */
#define RELAY_OUT_MAX (CLIENT_STREAMS_MAX * (size_t)AGENT_WINDOW + (4 << 20))
#define READS_MAX 8

struct relay_stream {
	struct relay_client *c;
	uint32_t id; /* the client's */
	struct agent_stream *s;
};

struct relay_client {
	struct agent_relay *relay;
	int fd;
	struct loop_io io;
	struct loop_task flush;
	struct frames in;
	struct buf out;
	struct relay_stream streams[CLIENT_STREAMS_MAX]; /* free where s is NULL */
};

struct agent_relay {
	struct loop *loop;
	struct agent *agent;
	struct relay_client *clients[AGENT_RELAY_CLIENTS_MAX];
	size_t n_clients;
};

static bool is_full(const struct agent_relay *r)
{
	return r->agent->out.len >= CLIENT_OUT_FULL;
}

/* ---- a client goes ------------------------------------------------------------------ */

static void client_free(struct relay_client *c)
{
	struct agent_relay *r = c->relay;

	for (size_t i = 0; i < CLIENT_STREAMS_MAX; i++)
		if (c->streams[i].s)
			agent_stream_close(c->streams[i].s);
	for (size_t i = 0; i < AGENT_RELAY_CLIENTS_MAX; i++)
		if (r->clients[i] == c)
			r->clients[i] = NULL;
	r->n_clients--;
	loop_task_cancel(r->loop, &c->flush);
	loop_io_del(&c->io);
	fd_close(c->fd);
	frames_fini(&c->in);
	buf_fini(&c->out);
	free(c);
}

/* ---- towards the client ------------------------------------------------------------- */

static bool flush(struct relay_client *c)
{
	while (c->out.len) {
		ssize_t n = send(c->fd, buf_at(&c->out), c->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			client_free(c);
			return false;
		}
		buf_consume(&c->out, (size_t)n);
	}
	if (!c->out.len)
		buf_reset(&c->out);
	loop_io_set(&c->io, (is_full(c->relay) ? 0 : EPOLLIN) | (c->out.len ? EPOLLOUT : 0));
	return true;
}

static void flush_task(struct loop_task *t)
{
	flush(container_of(t, struct relay_client, flush));
}

/* Freed later, from the loop: a caller may still be using it. */
static void queue(struct relay_client *c, int r)
{
	if (r < 0)
		shutdown(c->fd, SHUT_RDWR);
	else
		loop_task_queue(c->relay->loop, &c->flush);
}

static void refuse(struct relay_client *c, uint32_t id, enum agent_stage stage, int err,
		   const char *text)
{
	queue(c, frames_write_message(&c->out, id, AGENT_FAILED,
				      &(struct agent_failed){ stage, (uint32_t)err, text }));
}

/* A message of the guest's, checked; NULL: the agent is lost, and the relay with it soon. */
static void on_guest(struct agent_stream *s, const struct agent_message *m, void *arg)
{
	struct relay_stream *rs = arg;
	struct relay_client *c = rs->c;

	(void)s;
	if (!m) {
		rs->s = NULL;
		return;
	}
	queue(c, frames_write(&c->out, rs->id, m->type, m->body, m->len));
	if (m->type >= AGENT_DONE)
		rs->s = NULL;
}

/* ---- from the client ---------------------------------------------------------------- */

static struct relay_stream *find(struct relay_client *c, uint32_t id)
{
	for (size_t i = 0; i < CLIENT_STREAMS_MAX; i++)
		if (c->streams[i].s && c->streams[i].id == id)
			return &c->streams[i];
	return NULL;
}

static void begin(struct relay_client *c, const struct agent_message *m, const union agent_body *b)
{
	struct relay_stream *rs = c->streams;
	int r;

	while (rs < c->streams + CLIENT_STREAMS_MAX && rs->s)
		rs++;
	if (rs == c->streams + CLIENT_STREAMS_MAX) {
		refuse(c, m->id, AGENT_STAGE_LIMIT, EAGAIN, "too many requests at a time");
		return;
	}
	*rs = (struct relay_stream){ .c = c, .id = m->id };
	r = client_stream_begin(c->relay->agent, m->type, m->body, m->len, b, 0, NULL, on_guest, rs,
				&rs->s);
	if (r < 0)
		refuse(c, m->id, r == -EAGAIN ? AGENT_STAGE_LIMIT : AGENT_STAGE_LOST, -r,
		       "the agent cannot be asked now");
}

/* Negative: this client breaks the rules. */
static int on_message(struct relay_client *c, const struct agent_message *m)
{
	struct relay_stream *rs = find(c, m->id);
	struct scratch lists = { 0 };
	union agent_body b;
	int r = message_read(m, &b, &lists);

	if (r == 0 && (!m->id || (rs && rules_is_request(m->type))))
		r = -EPROTO;
	else if (r == 0 && m->type == AGENT_SHUTDOWN)
		refuse(c, m->id, AGENT_STAGE_REQUEST, EPERM, "the machine is not a client's to end");
	else if (r == 0 && rules_is_request(m->type))
		begin(c, m, &b);
	else if (r == 0 && rs)
		r = client_stream_pass(rs->s, m, &b);
	/* Else it is for what has ended meanwhile. */
	scratch_fini(&lists);
	return r;
}

static int receive(struct relay_client *c)
{
	struct agent_message m;

	for (int i = 0; i < READS_MAX; i++) {
		uint8_t *p;
		size_t room;
		ssize_t n;
		int r;

		/* An agent that is slow to take slows its clients. */
		if (is_full(c->relay)) {
			loop_io_set(&c->io, c->io.events & ~(uint32_t)EPOLLIN);
			return 0;
		}
		r = frames_room(&c->in, &p, &room);
		if (r < 0)
			return r;
		n = recv(c->fd, p, room, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		frames_filled(&c->in, (size_t)n);
		while ((r = frames_next(&c->in, &m)) > 0) {
			r = on_message(c, &m);
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
	struct relay_client *c = container_of(io, struct relay_client, io);

	if (events & EPOLLOUT && !flush(c))
		return;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && receive(c) < 0)
		client_free(c);
}

/* ---- life --------------------------------------------------------------------------- */

static void on_drained(struct agent *a, void *arg)
{
	struct agent_relay *r = arg;

	(void)a;
	for (size_t i = 0; i < AGENT_RELAY_CLIENTS_MAX; i++)
		if (r->clients[i])
			loop_io_set(&r->clients[i]->io, r->clients[i]->io.events | EPOLLIN);
}

int agent_relay_new(struct loop *l, struct agent *a, struct agent_relay **ret)
{
	struct agent_relay *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->loop = l;
	r->agent = a;
	a->drained = on_drained;
	a->drained_arg = r;
	*ret = r;
	return 0;
}

void agent_relay_free(struct agent_relay *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < AGENT_RELAY_CLIENTS_MAX; i++)
		if (r->clients[i])
			client_free(r->clients[i]);
	r->agent->drained = NULL;
	free(r);
}

int agent_relay_add(struct agent_relay *r, int fd)
{
	const struct agent_hello *hello = agent_hello(r->agent);
	struct relay_client *c;
	size_t place = 0;
	int rc;

	if (!hello)
		return -ENOTCONN;
	while (place < AGENT_RELAY_CLIENTS_MAX && r->clients[place])
		place++;
	if (place == AGENT_RELAY_CLIENTS_MAX)
		return -EAGAIN;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct relay_client){
		.relay = r,
		.fd = fd,
		.flush = { .cb = flush_task },
		.out = BUF_INIT(RELAY_OUT_MAX),
	};
	frames_init(&c->in, AGENT_MESSAGE_MAX);
	rc = fd_set_nonblock(fd, true);
	if (rc == 0)
		rc = frames_write_message(&c->out, 0, AGENT_HELLO, hello);
	if (rc == 0)
		rc = frames_write_message(&c->out, 0, AGENT_READY, NULL);
	if (rc == 0)
		rc = loop_io_add(r->loop, &c->io, fd, EPOLLIN, on_io);
	if (rc < 0) {
		frames_fini(&c->in);
		buf_fini(&c->out);
		free(c);
		return rc;
	}
	r->clients[place] = c;
	r->n_clients++;
	loop_task_queue(r->loop, &c->flush);
	return 0;
}

size_t agent_relay_clients(const struct agent_relay *r)
{
	return r->n_clients;
}
