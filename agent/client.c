/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of the connection: bytes to messages, id 0, and how it ends.
 *
 * States: new → hello → init sent → ready (or init failed) → lost. A client of a relay
 * skips the second. A message that may not come in its state is a breach.
 *
 * Sending only appends; a task of the loop writes, so that many small messages are one
 * system call, and an error is told from the loop and never from within a call of the
 * user's. Events may free the agent: whoever calls one asks client_leave() afterwards.
 */
#include "agent/client_int.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Reads of one event, so that a guest that never stops talking leaves others their turn. */
#define READS_MAX 8

/* ---- how it ends -------------------------------------------------------------------- */

void client_break(struct agent *a, int err, const char *why)
{
	if (a->state == CLIENT_LOST)
		return;
	a->state = CLIENT_LOST;
	a->lost_err = err;
	a->lost_why = why;
	loop_task_cancel(a->loop, &a->flush);
	loop_io_del(&a->io);
	loop_task_queue(a->loop, &a->tell_lost);
}

static void give_back(struct agent *a)
{
	for (size_t i = 0; i < ARRAY_SIZE(a->hello_texts); i++)
		free(a->hello_texts[i]);
	frames_fini(&a->in);
	buf_fini(&a->out);
	free(a);
}

bool client_leave(struct agent *a)
{
	assert(a->busy);
	if (--a->busy == 0 && a->freed) {
		give_back(a);
		return false;
	}
	return !a->freed;
}

static void tell_lost(struct loop_task *t)
{
	struct agent *a = container_of(t, struct agent, tell_lost);

	client_enter(a);
	client_streams_end(a, false);
	if (!a->freed && a->ev.lost)
		a->ev.lost(a, a->lost_err, a->lost_why, a->arg);
	client_leave(a);
}

void agent_free(struct agent *a)
{
	if (!a || a->freed)
		return;
	a->freed = true;
	client_streams_end(a, true);
	loop_io_del(&a->io);
	loop_task_cancel(a->loop, &a->flush);
	loop_task_cancel(a->loop, &a->tell_lost);
	fd_close(a->fd);
	if (!a->busy)
		give_back(a);
}

/* ---- sending ------------------------------------------------------------------------ */

static void flush(struct agent *a)
{
	bool was_full = a->out.len >= CLIENT_OUT_FULL;

	while (a->out.len) {
		ssize_t n = send(a->fd, buf_at(&a->out), a->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			client_break(a, -errno, "the connection to the agent cannot be written");
			return;
		}
		buf_consume(&a->out, (size_t)n);
	}
	if (!a->out.len)
		buf_reset(&a->out);
	loop_io_set(&a->io, EPOLLIN | (a->out.len ? EPOLLOUT : 0));
	if (was_full && a->out.len < CLIENT_OUT_FULL)
		client_streams_room(a);
}

static void flush_task(struct loop_task *t)
{
	struct agent *a = container_of(t, struct agent, flush);

	client_enter(a);
	flush(a);
	client_leave(a);
}

int client_send(struct agent *a, uint32_t id, uint16_t type, const void *body, size_t len)
{
	int r;

	if (a->state == CLIENT_LOST)
		return -ENOTCONN;
	r = frames_write(&a->out, id, type, body, len);
	if (r == 0)
		loop_task_queue(a->loop, &a->flush);
	return r == -ENOBUFS ? -EAGAIN : r;
}

int agent_send_init(struct agent *a, const struct agent_init *init)
{
	struct buf body = BUF_INIT(AGENT_MESSAGE_MAX);
	int r;

	if (a->state == CLIENT_NEW || a->state == CLIENT_LOST || a->joined)
		return -ENOTCONN;
	if (a->state != CLIENT_HELLO)
		return -EALREADY;
	r = message_write(AGENT_INIT, init, &body);
	if (r == 0)
		r = client_send(a, 0, AGENT_INIT, buf_at(&body), body.len);
	/* It may hold variables that are not for our memory's next owner. */
	buf_fini_wiped(&body);
	if (r == 0)
		a->state = CLIENT_INIT;
	return r;
}

/* ---- id 0 --------------------------------------------------------------------------- */

static const char *keep(struct agent *a, size_t i, const char *text)
{
	a->hello_texts[i] = strdup(text ? text : "");
	return a->hello_texts[i];
}

static int on_hello(struct agent *a, const struct agent_hello *h)
{
	a->hello = *h;
	a->hello.version = keep(a, 0, h->version);
	a->hello.kernel = keep(a, 1, h->kernel);
	a->hello.boot_id = keep(a, 2, h->boot_id);
	if (!a->hello.version || !a->hello.kernel || !a->hello.boot_id)
		return -ENOMEM;
	a->state = CLIENT_HELLO;
	if (a->ev.hello)
		a->ev.hello(a, &a->hello, a->arg);
	return 0;
}

static int on_connection(struct agent *a, uint16_t type, const union agent_body *b)
{
	enum client_state asked = a->joined ? CLIENT_HELLO : CLIENT_INIT;

	if (type == AGENT_HELLO && a->state == CLIENT_NEW)
		return on_hello(a, &b->hello);
	if (type == AGENT_READY && a->state == asked) {
		a->state = CLIENT_READY;
		if (a->ev.ready)
			a->ev.ready(a, a->arg);
		return 0;
	}
	if (type == AGENT_FAILED && a->state == CLIENT_INIT) {
		a->state = CLIENT_INIT_FAILED;
		if (a->ev.init_failed)
			a->ev.init_failed(a, &b->failed, a->arg);
		return 0;
	}
	if (type == AGENT_LOG && a->state != CLIENT_NEW) {
		if (a->ev.log)
			a->ev.log(a, &b->log, a->arg);
		return 0;
	}
	return -EPROTO;
}

/* ---- receiving ---------------------------------------------------------------------- */

static void on_message(struct agent *a, const struct agent_message *m)
{
	struct scratch lists = { 0 };
	union agent_body b;
	int r = message_read(m, &b, &lists);

	if (r == 0 && m->id == 0)
		r = on_connection(a, m->type, &b);
	else if (r == 0)
		client_stream_message(a, m, &b);
	scratch_fini(&lists);
	if (r < 0 && !a->freed)
		client_break(a, r, "the agent sent a message that may not come here");
}

/* Messages that are whole; false: no more of this connection. */
static bool drain(struct agent *a)
{
	struct agent_message m;
	int r = 0;

	while (!a->freed && a->state != CLIENT_LOST && (r = frames_next(&a->in, &m)) > 0)
		on_message(a, &m);
	if (!a->freed && r < 0)
		client_break(a, r, "the agent sent what is no frame");
	return !a->freed && a->state != CLIENT_LOST;
}

static void receive(struct agent *a)
{
	for (int i = 0; i < READS_MAX; i++) {
		uint8_t *p;
		size_t room;
		ssize_t n;
		int r = frames_room(&a->in, &p, &room);

		if (r < 0) {
			client_break(a, r, "no memory");
			return;
		}
		n = read(a->fd, p, room);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			client_break(a, n < 0 ? -errno : -ECONNRESET,
				     "the agent's end of the connection is closed");
			return;
		}
		frames_filled(&a->in, (size_t)n);
		if (!drain(a) || (size_t)n < room)
			return;
	}
}

static void on_io(struct loop_io *io, uint32_t events)
{
	struct agent *a = container_of(io, struct agent, io);

	client_enter(a);
	if (events & EPOLLOUT)
		flush(a);
	if (!a->freed && a->state != CLIENT_LOST && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(a);
	client_leave(a);
}

/* ---- birth -------------------------------------------------------------------------- */

static int new (struct loop *l, int fd, const struct agent_events *ev, void *arg, bool joined,
		struct agent **ret)
{
	struct agent *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	*a = (struct agent){
		.loop = l,
		.fd = fd,
		.ev = *ev,
		.arg = arg,
		.joined = joined,
		.out = BUF_INIT(CLIENT_OUT_MAX),
		.flush = { .cb = flush_task },
		.tell_lost = { .cb = tell_lost },
		.counter = 1,
	};
	frames_init(&a->in, 0);
	r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = loop_io_add(l, &a->io, fd, EPOLLIN, on_io);
	if (r < 0) {
		give_back(a);
		return r;
	}
	*ret = a;
	return 0;
}

int agent_new(struct loop *l, int fd, const struct agent_events *ev, void *arg, struct agent **ret)
{
	return new (l, fd, ev, arg, false, ret);
}

int agent_join(struct loop *l, int fd, const struct agent_events *ev, void *arg, struct agent **ret)
{
	return new (l, fd, ev, arg, true, ret);
}

const struct agent_hello *agent_hello(const struct agent *a)
{
	return a->state == CLIENT_NEW || !a->hello.version ? NULL : &a->hello;
}
