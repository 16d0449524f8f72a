/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP and echo flows once decided: relayed to a host socket (dgram_sock.c,
 * dgram_up.c), or handed to the owner. Datagrams keep their bounds, are never
 * reordered within a flow, and are dropped when a buffer is full, as UDP may
 * be; what the link does not take stays in the sockets. A flow ends when idle;
 * both directions refresh it.
 *
 * Towards the guest, datagrams of equal size that were read together go out as
 * one frame with segmentation offload: those that the kernel had put together
 * (UDP_GRO) without a copy, others by way of a buffer.
 */
#include "netstack/netstack_internal.h"

#include <netinet/udp.h>

/* ---- life ------------------------------------------------------------------- */

/* A question to a service, answered or not: nobody will come back to it. */
static bool is_query(const struct netstack_flow *f)
{
	return f->t.proto == NETSTACK_UDP && !f->t.inbound && f->t.remote.port < 1024 &&
	       f->c.packets_up <= LIMIT_UDP_QUERY_PACKETS &&
	       f->c.packets_down <= LIMIT_UDP_QUERY_PACKETS;
}

static uint64_t idle_ns(const struct netstack_flow *f)
{
	uint32_t s = f->ns->cfg.udp_timeout_s ? f->ns->cfg.udp_timeout_s : LIMIT_UDP_IDLE_S;

	if (f->t.proto == NETSTACK_ICMP)
		s = MIN(s, (uint32_t)LIMIT_ICMP_IDLE_S);
	else if (is_query(f))
		s = MIN(s, (uint32_t)LIMIT_UDP_QUERY_IDLE_S);
	return s * NS_PER_S;
}

void relay_dgram_touch(struct netstack_flow *f)
{
	struct netstack *ns = f->ns;

	f->active_ns = ns_now(ns);
	list_del(&f->all);
	list_add_tail(f->c.packets_down ? &ns->live[f->t.proto] : &ns->unanswered[f->t.proto],
		      &f->all);
	if (loop_timer_armed(&f->timer))
		return;
	f->timer.cb = relay_dgram_idle;
	loop_timer_set(ns->loop, &f->timer, f->active_ns + idle_ns(f));
}

/* Packets only note the time; the timer looks whether it was long ago. */
void relay_dgram_idle(struct loop_timer *t)
{
	struct netstack_flow *f = container_of(t, struct netstack_flow, timer);
	struct netstack *ns = f->ns;
	uint64_t end = f->active_ns + idle_ns(f);

	if (end > ns_now(ns)) {
		loop_timer_set(ns->loop, t, end);
		return;
	}
	ns_enter(ns);
	flow_finish(f, NETSTACK_END_TIMEOUT);
	ns_leave(ns);
}

/* ---- from a socket to the guest --------------------------------------------- */

/* Datagrams of one flow that are to go out as one frame. */
struct run {
	struct netstack_flow *f;
	const uint8_t *p;
	size_t len, size;
	unsigned n;
	bool closed; /* the last was shorter */
};

static void count_down(struct netstack_flow *f, bool sent, size_t bytes, unsigned n)
{
	if (!sent) {
		f->ns->stats.dropped_link_full++;
		return;
	}
	f->c.packets_down += n;
	f->c.bytes_down += bytes;
	rate_spend(f, RATE_DOWN, bytes, n);
	relay_dgram_touch(f);
}

static void run_flush(struct run *r)
{
	struct netstack_flow *f = r->f;

	r->f = NULL;
	if (f)
		count_down(f, udp_send_run(f, r->p, r->len, r->size), r->len, r->n);
}

/* The first of a run stays where it is; when a second comes both go to the joint buffer. */
static void run_add(struct run *r, struct netstack_flow *f, const uint8_t *p, size_t len)
{
	uint8_t *joint = f->ns->dgrams + LIMIT_DGRAM_BATCH * LIMIT_DGRAM_SIZE;

	if (r->f == f && len && len <= r->size && !r->closed && r->n < LIMIT_GSO_SEGMENTS &&
	    r->len + len <= LIMIT_GSO_BYTES && udp_fits(f, r->size)) {
		if (r->n == 1)
			memcpy(joint, r->p, r->len);
		memcpy(joint + r->len, p, len);
		r->p = joint;
		r->len += len;
		r->n++;
		r->closed = len < r->size;
		return;
	}
	run_flush(r);
	*r = (struct run){ .f = f, .p = p, .len = len, .size = len, .n = 1 };
}

static void deliver_udp(struct netstack_flow *f, struct run *r, const uint8_t *p, size_t len,
			size_t size)
{
	unsigned n = (unsigned)((len + size - 1) / (size ? size : 1));

	if (len <= size) {
		run_add(r, f, p, len);
		return;
	}
	run_flush(r);
	if (n <= LIMIT_USO_SEGMENTS && udp_fits(f, size)) {
		count_down(f, udp_send_run(f, p, len, size), len, n);
		return;
	}
	for (size_t at = 0; at < len; at += size) {
		size_t one = MIN(size, len - at);

		count_down(f, udp_send(f, p + at, one), one, 1);
	}
}

/* Ping sockets give us replies to our own identifier only. */
static void deliver_echo(struct netstack_flow *f, const uint8_t *p, size_t len)
{
	if (len < ICMP_HEAD || (p[0] != 0 && p[0] != 129))
		return;
	count_down(f, icmp_echo_reply(f, get_be16(p + 6), p + ICMP_HEAD, len - ICMP_HEAD),
		   len - ICMP_HEAD, 1);
}

/* Nobody asked there. */
static void refuse_stranger(struct dgram_sock *s, const struct endpoint *from)
{
	struct netstack *ns = s->ns;
	struct netstack_tuple t = {
		.proto = NETSTACK_UDP,
		.guest = s->guest,
		.remote = *from,
		.inbound = true,
	};

	ns->stats.dropped_unsolicited++;
	if (ns->ops->packet_refused)
		ns->ops->packet_refused(ns->ctx, &t, IPPROTO_UDP, NETSTACK_SILENT);
}

struct incoming {
	struct mmsghdr m[LIMIT_DGRAM_BATCH];
	struct iovec iov[LIMIT_DGRAM_BATCH];
	struct sockaddr_storage from[LIMIT_DGRAM_BATCH];
	union {
		char b[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ctl[LIMIT_DGRAM_BATCH];
};

static int receive(struct dgram_sock *s, struct incoming *in)
{
	memset(in->m, 0, sizeof(in->m));
	for (unsigned i = 0; i < LIMIT_DGRAM_BATCH; i++) {
		struct msghdr *h = &in->m[i].msg_hdr;

		in->iov[i] = (struct iovec){ s->ns->dgrams + i * LIMIT_DGRAM_SIZE, LIMIT_DGRAM_SIZE };
		h->msg_iov = &in->iov[i];
		h->msg_iovlen = 1;
		if (s->shared) {
			h->msg_name = &in->from[i];
			h->msg_namelen = sizeof(in->from[i]);
		}
		if (s->gro_asked) {
			h->msg_control = in->ctl[i].b;
			h->msg_controllen = sizeof(in->ctl[i].b);
		}
	}
	return recvmmsg(s->fd, in->m, LIMIT_DGRAM_BATCH, MSG_DONTWAIT, NULL);
}

/* Size of the datagrams that the kernel joined to this message. */
static size_t segment_size(struct msghdr *h, size_t len)
{
	int size;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO &&
		    c->cmsg_len >= CMSG_LEN(sizeof(size))) {
			memcpy(&size, CMSG_DATA(c), sizeof(size));
			return size > 0 ? (size_t)size : len;
		}
	return len;
}

static void deliver(struct dgram_sock *s, struct incoming *in, unsigned i, struct run *r)
{
	const uint8_t *p = in->iov[i].iov_base;
	struct endpoint from = { 0 };
	struct netstack_flow *f;

	if (s->shared && endpoint_from_sockaddr(&in->from[i], &from) < 0)
		return;
	f = dgram_sock_flow(s, &from);
	if (!f) {
		run_flush(r);
		refuse_stranger(s, &from);
	} else if (s->icmp) {
		deliver_echo(f, p, in->m[i].msg_len);
	} else {
		deliver_udp(f, r, p, in->m[i].msg_len,
			    segment_size(&in->m[i].msg_hdr, in->m[i].msg_len));
	}
}

/* A batch; false when there is no more now. */
static bool read_batch(struct dgram_sock *s)
{
	struct incoming in;
	struct run r = { 0 };
	int n = receive(s, &in);

	/* An error is in the queue as well, with the datagram it is about. */
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			dgram_errors(s);
		return false;
	}
	for (int i = 0; i < n && s->flows; i++)
		deliver(s, &in, (unsigned)i, &r);
	run_flush(&r);
	if (n == LIMIT_DGRAM_BATCH)
		dgram_sock_busy(s);
	return n == LIMIT_DGRAM_BATCH;
}

/* What waits for tokens waits in the socket, by the flow that it was last for. */
static bool may_receive(struct dgram_sock *s)
{
	if (!s->last || rate_allow(s->last, RATE_DOWN, LIMIT_DGRAM_SIZE))
		return true;
	loop_io_set(&s->io, 0);
	return false;
}

static void wait_for_link(struct dgram_sock *s)
{
	loop_io_set(&s->io, 0);
	if (list_empty(&s->blocked))
		list_add_tail(&s->ns->blocked_socks, &s->blocked);
}

void relay_dgram_wake_socks(struct netstack *ns)
{
	while (!list_empty(&ns->blocked_socks)) {
		struct dgram_sock *s =
			container_of(ns->blocked_socks.next, struct dgram_sock, blocked);

		list_del(&s->blocked);
		loop_io_set(&s->io, EPOLLIN);
	}
}

void relay_dgram_io(struct loop_io *io, uint32_t revents)
{
	struct dgram_sock *s = container_of(io, struct dgram_sock, io);
	struct netstack *ns = s->ns;

	ns_enter(ns);
	if (revents & EPOLLERR)
		dgram_errors(s);
	for (unsigned i = 0; revents & EPOLLIN && i < LIMIT_DGRAM_ROUNDS && s->flows; i++) {
		if (ns->link_full) {
			wait_for_link(s);
			break;
		}
		if (!may_receive(s) || !read_batch(s))
			break;
	}
	/* Only a local socket whose peer is gone says this. */
	if ((revents & (EPOLLHUP | EPOLLIN)) == EPOLLHUP && s->flows && s->last)
		flow_finish(s->last, NETSTACK_END_REMOTE_RESET);
	ns_leave(ns);
}

void relay_dgram_unpark(struct netstack_flow *f)
{
	if (f->sock && f->sock->io.loop)
		loop_io_set(&f->sock->io, EPOLLIN);
}

void relay_dgram_resume(struct netstack_flow *f)
{
	if (!flow_live(f) || !f->sock)
		return;
	relay_dgram_unpark(f);
	relay_dgram_io(&f->sock->io, EPOLLIN);
}

/* ---- from the owner to the guest -------------------------------------------- */

static void send_down(struct netstack_flow *f, const void *p, size_t len)
{
	bool sent = f->t.proto == NETSTACK_UDP ? udp_send(f, p, len)
					       : icmp_echo_reply(f, f->echo_seq, p, len);

	count_down(f, sent, len, 1);
}

void relay_dgram_down(struct netstack_flow *f, const void *p, size_t len)
{
	struct netstack *ns = f->ns;

	if (ns->mac_known) {
		send_down(f, p, len);
		return;
	}
	eth_resolve(ns);
	/* One packet for each flow waits (RFC 1122 2.3.2.2, RFC 4861 7.2.2): the newest. */
	flow_drop_pending(f);
	if (!flow_keep(f, NULL, 0, p, len, 0)) {
		ns->stats.dropped_link_full++;
		return;
	}
	if (list_empty(&f->blocked))
		list_add_tail(&ns->blocked, &f->blocked);
}

void relay_dgram_link_ready(struct netstack_flow *f)
{
	struct flow_pending *p;

	while ((p = flow_take_pending(f))) {
		send_down(f, p->bytes, p->len);
		free(p);
	}
}

/* ---- from the guest --------------------------------------------------------- */

/* A frame of several datagrams goes as a whole or not at all. */
static bool owner_passes(struct netstack_flow *f, const struct dgram *d, size_t size)
{
	for (size_t at = 0; at < d->len; at += size)
		if (!f->ns->ops->flow_passes(f->ns->ctx, f, d->p + at, MIN(size, d->len - at)) ||
		    !flow_live(f))
			return false;
	return true;
}

void relay_dgram_up(struct netstack_flow *f, const struct dgram *d, size_t size)
{
	const uint8_t *p = d->p;
	size_t left = d->len, n = size ? (left + size - 1) / size : 1;

	relay_dgram_touch(f);
	if (f->watched && !owner_passes(f, d, size))
		return;
	if (!rate_admit(f, RATE_UP, n))
		return;
	rate_spend(f, RATE_UP, left, n);
	f->echo_seq = d->seq;
	if (!f->local) {
		dgram_up(f, d, size);
		return;
	}
	do {
		size_t one = MIN(size, left);

		f->c.packets_up++;
		f->c.bytes_up += one;
		f->ns->ops->flow_datagram(f->ns->ctx, f, p, one);
		p += one;
		left -= one;
	} while (left && flow_live(f));
}

static void flush_pending(struct netstack_flow *f)
{
	struct flow_pending *p;

	while (flow_live(f) && (p = flow_take_pending(f))) {
		struct dgram d = {
			.p = p->bytes + p->payload,
			.len = p->len - p->payload,
			.seq = p->seq,
			.hops = ip_hop_limit(p->bytes),
			.df = ip_dont_fragment(p->bytes, p->len, f->ns->cfg.mtu),
		};

		relay_dgram_up(f, &d, d.len);
		free(p);
	}
}

void relay_dgram_local(struct netstack_flow *f)
{
	f->local = true;
	f->state = FLOW_OPEN;
	flush_pending(f);
}

void relay_dgram_attach(struct netstack_flow *f, int fd, const struct endpoint *to)
{
	int r = to ? dgram_sock_shared(f, fd, to) : dgram_sock_own(f, fd);

	f->state = FLOW_OPEN;
	if (r < 0) {
		f->c.error = -r;
		flow_finish(f, NETSTACK_END_REMOTE_RESET);
		return;
	}
	flush_pending(f);
}
