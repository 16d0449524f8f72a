/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP and echo flows once decided: relayed to a connected descriptor, or
 * handed to the owner. Datagrams keep their bounds, are never reordered within
 * a flow, and are dropped when either side is full, as UDP may be.
 *
 * What the host learns by ICMP about an attached socket (refused, unreachable,
 * too big) is told to the guest by an ICMP error of our own that quotes the
 * guest's datagram: from the socket's error queue where there is one, else
 * from the plain errno. A flow ends when idle; both directions refresh it.
 */
#include "netstack/netstack_internal.h"

#include <linux/errqueue.h>
#include <netinet/ip_icmp.h>
#include <unistd.h>

#define ECHO_REQUEST 8
#define ECHO6_REQUEST 128
#define DGRAM_SIZE 65536

static uint64_t idle_ns(const struct netstack_flow *f)
{
	uint32_t s = f->ns->cfg.udp_timeout_s ? f->ns->cfg.udp_timeout_s : LIMIT_UDP_IDLE_S;

	if (f->t.proto == NETSTACK_ICMP)
		s = MIN(s, (uint32_t)LIMIT_ICMP_IDLE_S);
	return s * NS_PER_S;
}

void relay_dgram_touch(struct netstack_flow *f)
{
	f->active_ns = ns_now(f->ns);
	list_del(&f->all);
	list_add_tail(&f->ns->live[f->t.proto], &f->all);
	if (loop_timer_armed(&f->timer))
		return;
	f->timer.cb = relay_dgram_idle;
	loop_timer_set(f->ns->loop, &f->timer, f->active_ns + idle_ns(f));
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

/* ---- errors of the attached socket, told to the guest ----------------- */

/* The path MTU as the guest must see it, when the families differ. */
static uint32_t guest_mtu(const struct netstack_flow *f, uint32_t mtu)
{
	bool four = f->t.guest.addr.family == 4;
	uint32_t least = four ? 576 : 1280;

	if (four && f->fd_family == AF_INET6)
		mtu = mtu > 20 ? mtu - 20 : 0;
	else if (!four && f->fd_family == AF_INET)
		mtu += 20;
	return MIN(MAX(mtu, least), (uint32_t)f->ns->cfg.mtu);
}

static uint32_t socket_mtu(const struct netstack_flow *f)
{
	bool six = f->fd_family == AF_INET6;
	int mtu = 0;
	socklen_t n = sizeof(mtu);

	if (getsockopt(f->fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_MTU : IP_MTU, &mtu, &n) < 0 ||
	    mtu < 0)
		return 0;
	return (uint32_t)mtu;
}

/* The guest's datagram, as far as we have it, for quoting. */
static size_t build_quote(const struct netstack_flow *f, uint8_t q[1280], const struct dgram *d)
{
	bool four = f->t.guest.addr.family == 4, udp = f->t.proto == NETSTACK_UDP;
	uint8_t proto = udp ? IPPROTO_UDP : four ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	size_t take = MIN(d->len, (size_t)1024);
	size_t n = ip_build_header(q, &f->t.guest.addr, &f->t.remote.addr, proto, 64,
				   UDP_HEAD + d->len);

	memset(q + n, 0, UDP_HEAD);
	if (udp) {
		put_be16(q + n, f->t.guest.port);
		put_be16(q + n + 2, f->t.remote.port);
		put_be16(q + n + 4, (uint16_t)(UDP_HEAD + d->len));
	} else {
		q[n] = four ? ECHO_REQUEST : ECHO6_REQUEST;
		put_be16(q + n + 4, f->t.guest.port);
		put_be16(q + n + 6, d->seq);
	}
	if (take)
		memcpy(q + n + UDP_HEAD, d->p, take);
	return n + UDP_HEAD + take;
}

static void tell_guest(struct netstack_flow *f, int error, uint32_t mtu, const struct dgram *d)
{
	uint8_t q[1280];
	size_t n = build_quote(f, q, d);
	struct netstack *ns = f->ns;

	f->c.error = error;
	switch (error) {
	case ECONNREFUSED:
		icmp_refusal(ns, q, n, NETSTACK_PORT_CLOSED);
		break;
	case EHOSTUNREACH:
	case EHOSTDOWN:
		icmp_refusal(ns, q, n, NETSTACK_NO_HOST);
		break;
	case ENETUNREACH:
	case ENETDOWN:
		icmp_refusal(ns, q, n, NETSTACK_NO_NET);
		break;
	case EACCES:
	case EPERM:
		icmp_refusal(ns, q, n, NETSTACK_DENIED);
		break;
	case EMSGSIZE:
		icmp_too_big(ns, q, n, guest_mtu(f, mtu ? mtu : socket_mtu(f)));
		break;
	default:
		break;
	}
}

/* One entry of the error queue: false when it is empty. */
static bool read_error(struct netstack_flow *f)
{
	union {
		char b[512];
		struct cmsghdr align;
	} ctl;
	uint8_t data[1024];
	struct iovec iov = { data, sizeof(data) };
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl.b,
		.msg_controllen = sizeof(ctl.b),
	};
	struct sock_extended_err e = { 0 };
	struct dgram d = { .p = data, .seq = f->echo_seq };
	ssize_t n = recvmsg(f->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);

	if (n < 0)
		return false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
		    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
			memcpy(&e, CMSG_DATA(c), sizeof(e));
	d.len = (size_t)n;
	if (f->t.proto == NETSTACK_ICMP) {
		/* The queue gives the echo header as the kernel sent it. */
		if (n < ICMP_HEAD)
			return true;
		d.seq = get_be16(data + 6);
		d.p += ICMP_HEAD;
		d.len -= ICMP_HEAD;
	}
	if (e.ee_errno)
		tell_guest(f, (int)e.ee_errno, e.ee_errno == EMSGSIZE ? e.ee_info : 0, &d);
	return true;
}

static void drain_errors(struct netstack_flow *f)
{
	struct dgram none = { .seq = f->echo_seq };
	int err = 0;
	socklen_t n = sizeof(err);
	bool any = false;

	for (unsigned i = 0; i < LIMIT_DGRAM_BATCH && read_error(f); i++)
		any = true;
	/* Reading the pending error clears it, or the loop would be called for ever. */
	if (getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &n) == 0 && err && !any)
		tell_guest(f, err, 0, &none);
}

/* ---- from the descriptor to the guest --------------------------------- */

static bool deliver_down(struct netstack_flow *f, const uint8_t *p, size_t len)
{
	bool sent;

	if (f->t.proto == NETSTACK_UDP) {
		sent = udp_send(f, p, len);
	} else {
		/* Ping sockets give us replies to our own identifier only. */
		if (len < ICMP_HEAD || (p[0] != 0 && p[0] != 129))
			return true;
		sent = icmp_echo_reply(f, get_be16(p + 6), p + ICMP_HEAD, len - ICMP_HEAD);
		len -= ICMP_HEAD;
	}
	if (!sent) {
		f->ns->stats.dropped_link_full++;
		return false;
	}
	f->c.packets_down++;
	f->c.bytes_down += len;
	rate_spend(f, RATE_DOWN, len, 1);
	return true;
}

/* A batch; false when there is no more now. */
static bool read_batch(struct netstack_flow *f)
{
	struct netstack *ns = f->ns;
	struct mmsghdr m[LIMIT_DGRAM_BATCH];
	struct iovec iov[LIMIT_DGRAM_BATCH];
	struct dgram none = { .seq = f->echo_seq };
	int n;

	memset(m, 0, sizeof(m));
	for (unsigned i = 0; i < LIMIT_DGRAM_BATCH; i++) {
		iov[i] = (struct iovec){ ns->dgrams + i * DGRAM_SIZE, DGRAM_SIZE };
		m[i].msg_hdr.msg_iov = &iov[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	n = recvmmsg(f->fd, m, LIMIT_DGRAM_BATCH, MSG_DONTWAIT, NULL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			tell_guest(f, errno, 0, &none);
		return false;
	}
	for (int i = 0; i < n; i++)
		deliver_down(f, iov[i].iov_base, m[i].msg_len);
	if (n > 0)
		relay_dgram_touch(f);
	return n == LIMIT_DGRAM_BATCH;
}

/* As much as one flow's turn and the rate allow; what waits, waits in the socket. */
static void read_down(struct netstack_flow *f)
{
	for (unsigned i = 0; i < LIMIT_DGRAM_ROUNDS; i++)
		if (!rate_allow(f, RATE_DOWN, DGRAM_SIZE) || !read_batch(f))
			break;
	if (flow_live(f) && f->fd >= 0 && rate_waiting(f, RATE_DOWN))
		loop_io_set(&f->io, 0);
}

void relay_dgram_resume(struct netstack_flow *f)
{
	if (!flow_live(f) || f->fd < 0)
		return;
	loop_io_set(&f->io, EPOLLIN);
	read_down(f);
}

static void on_io(struct loop_io *io, uint32_t revents)
{
	struct netstack_flow *f = container_of(io, struct netstack_flow, io);
	struct netstack *ns = f->ns;

	ns_enter(ns);
	if (revents & EPOLLERR)
		drain_errors(f);
	if (revents & EPOLLIN)
		read_down(f);
	/* Only a local socket whose peer is gone says this. */
	if ((revents & (EPOLLHUP | EPOLLIN)) == EPOLLHUP)
		flow_finish(f, NETSTACK_END_REMOTE_RESET);
	ns_leave(ns);
}

/* ---- from the guest --------------------------------------------------- */

static void send_up(struct netstack_flow *f, const struct dgram *d, unsigned n)
{
	struct mmsghdr m[LIMIT_USO_SEGMENTS];
	struct iovec iov[LIMIT_USO_SEGMENTS][2];
	uint8_t echo[ICMP_HEAD] = { f->fd_family == AF_INET6 ? ECHO6_REQUEST : ECHO_REQUEST };
	unsigned at = 0, tries = 0;

	memset(m, 0, n * sizeof(m[0]));
	for (unsigned i = 0; i < n; i++) {
		struct iovec data = { (void *)(uintptr_t)d[i].p, d[i].len };

		m[i].msg_hdr.msg_iov = iov[i];
		m[i].msg_hdr.msg_iovlen = 1;
		iov[i][0] = data;
		if (f->t.proto == NETSTACK_ICMP) {
			/* Echo comes one at a time; the kernel fills identifier and checksum. */
			assert(n == 1);
			put_be16(echo + 6, d[i].seq);
			iov[i][0] = (struct iovec){ echo, sizeof(echo) };
			iov[i][1] = data;
			m[i].msg_hdr.msg_iovlen = 2;
		}
	}
	while (at < n) {
		int r = sendmmsg(f->fd, m + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r > 0) {
			for (unsigned i = at; i < at + (unsigned)r; i++) {
				f->c.packets_up++;
				f->c.bytes_up += d[i].len;
			}
			at += (unsigned)r;
			tries = 0;
		} else if (errno == EAGAIN) {
			return;
		} else if (errno != EINTR && tries++) {
			/* Twice for the same datagram: its own fault, not an older one's. */
			tell_guest(f, errno, 0, &d[at++]);
			tries = 0;
		}
	}
}

/* Runs of those that the rate lets pass. */
static void send_admitted(struct netstack_flow *f, const struct dgram *d, unsigned n)
{
	unsigned from = 0;

	for (unsigned i = 0; i < n && flow_live(f); i++) {
		if (rate_admit(f, RATE_UP, d[i].len))
			continue;
		if (i > from)
			send_up(f, d + from, i - from);
		from = i + 1;
	}
	if (n > from && flow_live(f))
		send_up(f, d + from, n - from);
}

void relay_dgram_up(struct netstack_flow *f, const struct dgram *d, unsigned n)
{
	relay_dgram_touch(f);
	f->echo_seq = d[n - 1].seq;
	if (!f->local) {
		send_admitted(f, d, n);
		return;
	}
	for (unsigned i = 0; i < n && flow_live(f); i++) {
		if (!rate_admit(f, RATE_UP, d[i].len))
			continue;
		f->c.packets_up++;
		f->c.bytes_up += d[i].len;
		f->ns->ops->flow_datagram(f->ns->ctx, f, d[i].p, d[i].len);
	}
}

static void flush_pending(struct netstack_flow *f)
{
	struct flow_pending *p;

	while (flow_live(f) && (p = flow_take_pending(f))) {
		struct dgram d = {
			.p = p->bytes + p->payload,
			.len = p->len - p->payload,
			.seq = p->seq,
		};

		relay_dgram_up(f, &d, 1);
		free(p);
	}
}

void relay_dgram_local(struct netstack_flow *f)
{
	f->local = true;
	f->state = FLOW_OPEN;
	flush_pending(f);
}

void relay_dgram_attach(struct netstack_flow *f, int fd)
{
	struct netstack *ns = f->ns;
	socklen_t n = sizeof(f->fd_family);
	int on = 1, r;

	f->fd = fd;
	f->state = FLOW_OPEN;
	if (!ns->dgrams)
		ns->dgrams = malloc(LIMIT_DGRAM_BATCH * DGRAM_SIZE);
	r = ns->dgrams ? loop_io_add(ns->loop, &f->io, fd, EPOLLIN, on_io) : -ENOMEM;
	if (r < 0) {
		f->c.error = -r;
		flow_finish(f, NETSTACK_END_REMOTE_RESET);
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &f->fd_family, &n) < 0)
		f->fd_family = AF_UNSPEC;
	/* Without the error queue the plain errno has to do. */
	if (f->fd_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
	else if (f->fd_family == AF_INET)
		(void)setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
	flush_pending(f);
}
