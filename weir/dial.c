/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One address after the other, not in parallel: an allowed name may stand for
 * several machines, and a connection to each would be seen by each.
 *
 * TCP waits for the handshake. UDP and ICMP connect at once. A silent address
 * is given up early only when another is left; the last one is waited for as
 * long as the guest's own kernel would.
 *
 * Over an upstream proxy each address is a connection to the proxy and a
 * handshake with it (upstream_shake.h). Its bytes are looked at before they are
 * taken, so that none of the target's is. What the proxy says of the target is
 * told as if it had been dialled; a proxy that itself cannot be used is not the
 * target's refusal, and ends the trying.
 */
#include "weir/dial.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
/* After the others: it has no types of its own. */
#include <linux/errqueue.h>

#define DIAL_NEXT_AFTER (4 * NS_PER_S)
#define DIAL_GIVE_UP (130 * NS_PER_S)
/* The proxy's handshake takes as long as its own dialling. */
#define PROXY_CONNECT (10 * NS_PER_S)
#define PROXY_NEXT_AFTER (15 * NS_PER_S)
#define PROXY_GIVE_UP (60 * NS_PER_S)
#define PROXY_PIECE 4096

static void dial_next(struct dial *d);

static int dial_socket(enum netstack_proto proto, const struct endpoint *to)
{
	int domain = to->addr.family == 4 ? AF_INET : AF_INET6;
	int one = 1, fd;

	switch (proto) {
	case NETSTACK_TCP:
		fd = socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd >= 0)
			(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		return fd;
	case NETSTACK_UDP:
		return socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	case NETSTACK_ICMP:
		return socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			      domain == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	}
	errno = EINVAL;
	return -1;
}

static void forget_shake(struct dial *d)
{
	if (d->shake)
		upstream_shake_fini(d->shake);
	free(d->shake);
	d->shake = NULL;
}

/* ---- a probe: the guest's hop limit, and what routers say to it -------------- */

static void set_hops(const struct dial *d, int hops, int errors)
{
	bool six = d->to[d->at].addr.family == 6;
	int level = six ? IPPROTO_IPV6 : IPPROTO_IP;

	(void)setsockopt(d->fd, level, six ? IPV6_UNICAST_HOPS : IP_TTL, &hops, sizeof(hops));
	(void)setsockopt(d->fd, level, six ? IPV6_RECVERR : IP_RECVERR, &errors, sizeof(errors));
}

static void take_error(const struct cmsghdr *c, struct netstack_icmp *ret)
{
	struct sockaddr_storage ss = { 0 };
	struct sock_extended_err e;
	struct endpoint from;
	size_t at = CMSG_LEN(sizeof(e));

	if (c->cmsg_len < at)
		return;
	memcpy(&e, CMSG_DATA(c), sizeof(e));
	if (e.ee_origin != SO_EE_ORIGIN_ICMP && e.ee_origin != SO_EE_ORIGIN_ICMP6)
		return;
	memcpy(&ss, CMSG_DATA(c) + sizeof(e), MIN(c->cmsg_len - at, sizeof(ss)));
	*ret = (struct netstack_icmp){ .type = e.ee_type, .code = e.ee_code, .info = e.ee_info };
	if (endpoint_from_sockaddr(&ss, &from) == 0)
		ret->from = from.addr;
	ret->from.family = e.ee_origin == SO_EE_ORIGIN_ICMP ? 4 : 6;
}

/* Which router or host ended it, for the guest to be told. */
static void hear(struct dial *d)
{
	union {
		char b[512];
		struct cmsghdr align;
	} ctl;
	struct msghdr m = { .msg_control = ctl.b, .msg_controllen = sizeof(ctl.b) };

	if (recvmsg(d->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
		    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
			take_error(c, &d->heard);
}

static bool is_direct(const struct dial *d)
{
	return !d->via || upstream_bypasses(d->via->cfg, &d->to[d->at].addr);
}

static bool is_probe(const struct dial *d)
{
	return is_direct(d) && d->proto == NETSTACK_TCP && d->hops > 1 && d->fd >= 0;
}

static void dial_finish(struct dial *d, int fd)
{
	loop_io_del(&d->io);
	loop_timer_del(d->loop, &d->timer);
	forget_shake(d);
	if (fd >= 0 && is_probe(d))
		set_hops(d, -1, 0);
	d->fd = -1;
	d->n = 0;
	d->done(d->user, fd, d->error, &d->to[d->at]);
}

static void dial_drop(struct dial *d, int error)
{
	d->error = error;
	forget_shake(d);
	if (is_probe(d))
		hear(d);
	loop_io_closing(&d->io);
	loop_timer_del(d->loop, &d->timer);
	fd_close(d->fd);
	d->fd = -1;
}

static void dial_failed(struct dial *d, int error)
{
	dial_drop(d, error);
	d->why = NULL;
	if (d->at + 1 == d->n) {
		dial_finish(d, -1);
		return;
	}
	d->at++;
	dial_next(d);
}

/* ---- over a proxy ------------------------------------------------------------ */

static void via_failed(struct dial *d, int error, bool of_target, const char *why)
{
	dial_drop(d, error);
	d->why = why;
	if (!of_target || d->at + 1 == d->n) {
		dial_finish(d, -1);
		return;
	}
	d->at++;
	dial_next(d);
}

static void via_unreachable(struct dial *d, int error)
{
	log_debug("the upstream proxy cannot be reached: %s", strerror(error));
	dial_drop(d, EHOSTUNREACH);
	if (++d->hop < d->via->n)
		dial_next(d);
	else
		via_failed(d, EHOSTUNREACH, false, "the upstream proxy cannot be reached");
}

/* False: the dial has gone on without us. */
static bool via_send(struct dial *d)
{
	struct upstream_shake *s = d->shake;

	while (d->sent < s->out_len) {
		ssize_t n = send(d->fd, s->out + d->sent, s->out_len - d->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			via_failed(d, EHOSTUNREACH, false,
				   "the upstream proxy closed the connection");
			return false;
		}
		d->sent += (size_t)n;
	}
	loop_io_set(&d->io, d->sent < s->out_len ? EPOLLOUT : EPOLLIN);
	return true;
}

/* One look at what is there; false: there was nothing, or the dial has gone on. */
static bool via_read(struct dial *d)
{
	uint8_t piece[PROXY_PIECE];
	struct upstream_shake *s = d->shake;
	ssize_t n = recv(d->fd, piece, sizeof(piece), MSG_PEEK);
	size_t used;

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		via_failed(d, EHOSTUNREACH, false, "the upstream proxy closed the connection");
		return false;
	}
	used = upstream_shake_input(s, piece, (size_t)n);
	if (recv(d->fd, piece, used, 0) != (ssize_t)used) {
		via_failed(d, EIO, false, "the upstream proxy closed the connection");
		return false;
	}
	d->sent = 0;
	switch (s->state) {
	case UPSTREAM_MORE:
		return via_send(d);
	case UPSTREAM_DONE:
		dial_finish(d, d->fd);
		return false;
	case UPSTREAM_FAILED:
		break;
	}
	via_failed(d, s->error, s->of_target, s->why);
	return false;
}

static void on_via(struct loop_io *io, uint32_t revents)
{
	struct dial *d = container_of(io, struct dial, io);

	/* What is left to be sent first; an answer that comes before is none. */
	if (d->sent < d->shake->out_len && !(revents & (EPOLLHUP | EPOLLERR))) {
		(void)via_send(d);
		return;
	}
	while (via_read(d))
		;
}

/* The proxy has taken the connection. */
static void via_begin(struct dial *d)
{
	const struct upstream_auth *auth = d->via->has_auth ? &d->via->auth : NULL;
	int r;

	loop_io_del(&d->io);
	d->shake = calloc(1, sizeof(*d->shake));
	r = d->shake ? upstream_shake_begin(d->shake, d->via->cfg->kind, auth, &d->to[d->at], d->name)
		     : -ENOMEM;
	if (r == 0)
		r = loop_io_add(d->loop, &d->io, d->fd, EPOLLIN, on_via);
	if (r < 0) {
		via_failed(d, -r, r == -EAFNOSUPPORT,
			   r == -EAFNOSUPPORT ? "SOCKS 4 knows no IPv6" : NULL);
		return;
	}
	d->sent = 0;
	loop_timer_set(d->loop, &d->timer,
		       loop_now(d->loop) + (d->at + 1 < d->n ? PROXY_NEXT_AFTER : PROXY_GIVE_UP));
	(void)via_send(d);
}

/* ---- one address ---------------------------------------------------------------- */

static void on_writable(struct loop_io *io, uint32_t revents)
{
	struct dial *d = container_of(io, struct dial, io);
	int error = 0;
	socklen_t len = sizeof(error);

	/* Without either it is connected, and nothing needs to be asked. */
	if (!(revents & (EPOLLERR | EPOLLHUP)))
		error = 0;
	else if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error && is_direct(d))
		dial_failed(d, error);
	else if (error)
		via_unreachable(d, error);
	else if (is_direct(d))
		dial_finish(d, d->fd);
	else
		via_begin(d);
}

static void on_timeout(struct loop_timer *t)
{
	struct dial *d = container_of(t, struct dial, timer);

	if (is_direct(d))
		dial_failed(d, ETIMEDOUT);
	else if (d->shake)
		via_failed(d, EHOSTUNREACH, true, "the upstream proxy does not answer");
	else
		via_unreachable(d, ETIMEDOUT);
}

static void dial_next(struct dial *d)
{
	bool direct = is_direct(d);
	const struct endpoint *to = direct ? &d->to[d->at] : &d->via->to[d->hop];
	uint64_t wait = !direct ? PROXY_CONNECT : d->at + 1 < d->n ? DIAL_NEXT_AFTER : DIAL_GIVE_UP;
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(to, &ss);

	d->timer.cb = on_timeout;
	d->fd = dial_socket(d->proto, to);
	if (d->fd < 0) {
		dial_failed(d, errno);
		return;
	}
	d->heard = (struct netstack_icmp){ 0 };
	if (is_probe(d))
		set_hops(d, d->hops - 1, 1);
	if (connect(d->fd, (struct sockaddr *)&ss, len) == 0) {
		if (direct)
			dial_finish(d, d->fd);
		else
			via_begin(d);
		return;
	}
	if (errno != EINPROGRESS || loop_io_add(d->loop, &d->io, d->fd, EPOLLOUT, on_writable) < 0) {
		if (direct)
			dial_failed(d, errno);
		else
			via_unreachable(d, errno);
		return;
	}
	loop_timer_set(d->loop, &d->timer, loop_now(d->loop) + wait);
}

void dial_start(struct dial *d, struct loop *loop, enum netstack_proto proto,
		const struct endpoint *to, size_t n, const struct upstream *via,
		const struct name *name, dial_done_fn *done, void *user)
{
	assert(n >= 1 && n <= DIAL_MAX_ADDRS);
	*d = (struct dial){ .loop = loop,
			    .proto = proto,
			    .n = n,
			    .fd = -1,
			    .via = proto == NETSTACK_TCP ? via : NULL,
			    .name = name,
			    .done = done,
			    .user = user,
			    .hops = d->hops };
	memcpy(d->to, to, n * sizeof(*to));
	dial_next(d);
}

void dial_cancel(struct dial *d)
{
	if (!dial_active(d))
		return;
	dial_drop(d, ECANCELED);
	d->n = 0;
}

bool dial_active(const struct dial *d)
{
	return d->n != 0;
}
