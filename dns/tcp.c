/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS over a guest's TCP connection (RFC 7766): messages with a two byte
 * length, pipelined, answered in whatever order the answers come.
 *
 *	reading: bytes -> in -> whole messages -> dns_query()
 *	writing: reply -> out -> socket, whenever it takes more
 *
 * Reading stops while DNS_TCP_OUTSTANDING queries are under way or the guest
 * leaves DNS_TCP_OUT_PAUSE bytes of replies untaken. After the guest's FIN the
 * outstanding replies are still sent. Thirty seconds without a whole
 * message or a byte written end the connection, unless a query is still being
 * worked on: one byte at a time keeps nothing open.
 *
 * A connection ends from its socket's event or its task only, never from inside
 * a reply or a timer, so a reply may come at any depth.
 */
#include "dns/dns_int.h"

#include <sys/epoll.h>
#include <unistd.h>

#define IN_CHUNK 4096
#define IN_CAP (2 + 65535 + IN_CHUNK)

struct conn {
	struct list link; /* in dns.conns */
	struct dns *d;
	struct loop_io io;
	struct loop_timer idle;
	struct loop_task task;
	struct buf in, out;
	struct list reqs; /* struct req, outstanding */
	unsigned n_reqs;
	enum dns_transport transport;
	struct endpoint guest, server;
	bool eof, broken;
};

struct req {
	struct list link;
	struct conn *c;
	struct dns_query *q;
	bool replied;
};

static void conn_free(struct conn *c)
{
	list_for_each_safe (it, next, &c->reqs) {
		struct req *r = container_of(it, struct req, link);

		dns_query_cancel(r->q);
		free(r);
	}
	loop_task_cancel(c->d->loop, &c->task);
	loop_timer_del(c->d->loop, &c->idle);
	if (c->io.loop) {
		int fd = c->io.fd;

		loop_io_del(&c->io);
		fd_close(fd);
	}
	buf_fini(&c->in);
	buf_fini(&c->out);
	list_del(&c->link);
	c->d->n_conns--;
	free(c);
}

static void touch(struct conn *c)
{
	loop_timer_set(c->d->loop, &c->idle, loop_now(c->d->loop) + c->d->tcp_idle_ns);
}

static void on_reply(void *user, const uint8_t *msg, size_t len)
{
	struct req *r = user;
	struct conn *c = r->c;
	uint8_t prefix[2];

	put_be16(prefix, (uint16_t)len);
	/* What may not be answered (a response, a stub of a header) ends the connection. */
	if (len == 0 || buf_append(&c->out, prefix, 2) < 0 || buf_append(&c->out, msg, len) < 0)
		c->broken = true;
	list_del(&r->link);
	c->n_reqs--;
	r->replied = true;
	if (r->q)
		free(r); /* else take_message() still holds it */
	loop_task_queue(c->d->loop, &c->task);
}

/* False: no whole message is there. */
static bool take_message(struct conn *c)
{
	const uint8_t *p = buf_at(&c->in);
	struct req *r;
	size_t len;

	if (c->in.len < 2)
		return false;
	len = get_be16(p);
	if (c->in.len < 2 + len)
		return false;
	r = calloc(1, sizeof(*r));
	if (!r) {
		c->broken = true;
		return false;
	}
	r->c = c;
	list_add_tail(&c->reqs, &r->link);
	c->n_reqs++;
	r->q = dns_query(c->d, p + 2, len, c->transport, &c->guest, &c->server, on_reply, r);
	if (r->replied)
		free(r);
	buf_consume(&c->in, 2 + len);
	touch(c);
	return true;
}

static bool may_read(const struct conn *c)
{
	return !c->broken && c->n_reqs < DNS_TCP_OUTSTANDING && c->out.len < DNS_TCP_OUT_PAUSE;
}

static void flush(struct conn *c)
{
	while (c->out.len) {
		ssize_t n = send(c->io.fd, buf_at(&c->out), c->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n <= 0) {
			c->broken = true;
			return;
		}
		buf_consume(&c->out, (size_t)n);
		touch(c);
	}
}

/* Work on what is there, then wait for the right things or end; c may be gone afterwards. */
static void conn_run(struct conn *c)
{
	while (may_read(c) && take_message(c))
		;
	if (!c->broken)
		flush(c);
	/* At the end of input an incomplete message is nothing. */
	if (c->broken || (c->eof && c->n_reqs == 0 && c->out.len == 0 && may_read(c))) {
		conn_free(c);
		return;
	}
	loop_io_set(&c->io, (may_read(c) && !c->eof ? EPOLLIN : 0u) | (c->out.len ? EPOLLOUT : 0u));
}

static void on_io(struct loop_io *io, uint32_t revents)
{
	struct conn *c = container_of(io, struct conn, io);
	uint8_t *p;
	ssize_t n;

	/* Hang-up cannot be masked: what is not being read any more must not spin. */
	if (revents & EPOLLERR || (revents & EPOLLHUP && (c->eof || !may_read(c))))
		c->broken = true;
	if (!c->eof && !c->broken && may_read(c) && revents & (EPOLLIN | EPOLLHUP)) {
		if (buf_reserve(&c->in, IN_CHUNK, &p) < 0) {
			c->broken = true;
		} else {
			n = read(c->io.fd, p, IN_CHUNK);
			if (n > 0)
				buf_commit(&c->in, (size_t)n);
			else if (n == 0)
				c->eof = true;
			else if (errno != EAGAIN && errno != EINTR)
				c->broken = true;
		}
	}
	conn_run(c);
}

static void on_task(struct loop_task *t)
{
	conn_run(container_of(t, struct conn, task));
}

static void on_idle(struct loop_timer *t)
{
	struct conn *c = container_of(t, struct conn, idle);

	/* Upstream is slow, not the guest: its own timeouts end this. */
	if (c->n_reqs && !c->out.len) {
		touch(c);
		return;
	}
	c->broken = true;
	loop_task_queue(c->d->loop, &c->task);
}

int dns_serve_tcp(struct dns *d, int fd, enum dns_transport t, const struct endpoint *guest,
		  const struct endpoint *server)
{
	struct conn *c;
	int r;

	if (d->n_conns >= DNS_TCP_CONNS) {
		fd_close(fd);
		return -EMFILE;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		fd_close(fd);
		return -ENOMEM;
	}
	c->d = d;
	c->guest = *guest;
	c->server = *server;
	c->transport = t;
	c->idle.cb = on_idle;
	c->task.cb = on_task;
	buf_init(&c->in, IN_CAP);
	buf_init(&c->out, DNS_TCP_OUT_CAP);
	list_init(&c->reqs);
	r = loop_io_add(d->loop, &c->io, fd, EPOLLIN, on_io);
	if (r < 0) {
		fd_close(fd);
		free(c);
		return r;
	}
	list_add_tail(&d->conns, &c->link);
	d->n_conns++;
	touch(c);
	return 0;
}

void dns_tcp_close_all(struct dns *d)
{
	list_for_each_safe (it, next, &d->conns)
		conn_free(container_of(it, struct conn, link));
}
