/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host learns by ICMP about a socket's datagrams, told to the guest:
 * type, code and router as they were, the guest's own datagram quoted, so that
 * traceroute, mtr and path MTU discovery work as if nobody stood between.
 *
 * The error queue names the destination of the offending datagram, which names
 * the flow; an error of the kernel's own (too big for the interface) is told
 * where sending failed, and only its path MTU is taken from the queue. Sockets
 * without a queue (local ones) give a plain errno.
 */
#include "netstack/icmp_types.h"
#include "netstack/netstack_internal.h"

#include <linux/errqueue.h>
#include <sys/socket.h>

#define QUOTE_DATA 1024

/* The guest's datagram, as far as we have it, for quoting. */
static size_t build_quote(const struct netstack_flow *f, uint8_t q[1280], const struct dgram *d)
{
	bool four = f->t.guest.addr.family == 4, udp = f->t.proto == NETSTACK_UDP;
	uint8_t proto = udp ? IPPROTO_UDP : four ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	size_t take = MIN(d->len, (size_t)QUOTE_DATA);
	size_t n =
		ip_build_header(q, &f->t.guest.addr, &f->t.remote.addr, proto, 1, UDP_HEAD + d->len);

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

/* e's numbers are those of the socket's IP version. */
static void tell_icmp(struct netstack_flow *f, struct netstack_icmp e, const struct dgram *d)
{
	uint8_t q[1280];
	size_t n;

	if (!icmp_translate(f->t.guest.addr.family, &e))
		return;
	n = build_quote(f, q, d);
	icmp_error_from(f->ns, q, n, &e);
}

static void tell_errno(struct netstack_flow *f, int error, const struct dgram *d)
{
	uint8_t q[1280];
	size_t n = build_quote(f, q, d);

	switch (error) {
	case ECONNREFUSED:
		icmp_refusal(f->ns, q, n, NETSTACK_PORT_CLOSED);
		break;
	case EHOSTUNREACH:
	case EHOSTDOWN:
		icmp_refusal(f->ns, q, n, NETSTACK_NO_HOST);
		break;
	case ENETUNREACH:
	case ENETDOWN:
		icmp_refusal(f->ns, q, n, NETSTACK_NO_NET);
		break;
	case EACCES:
	case EPERM:
		icmp_refusal(f->ns, q, n, NETSTACK_DENIED);
		break;
	default:
		break;
	}
}

static void tell_too_big(struct netstack_flow *f, uint32_t mtu, const struct dgram *d)
{
	bool six = f->sock->family == AF_INET6;
	struct netstack_icmp e = { .type = six ? 2 : 3, .code = six ? 0 : 4, .info = mtu };

	e.from.family = six ? 6 : 4;
	tell_icmp(f, e, d);
}

/* One entry of the error queue. */
struct entry {
	struct sock_extended_err e;
	struct ip_addr offender; /* family 0: not told */
	struct endpoint to;
	uint8_t data[QUOTE_DATA];
	size_t len;
};

static struct ip_addr offender(const struct cmsghdr *c)
{
	struct sockaddr_storage ss = { 0 };
	size_t at = CMSG_LEN(sizeof(struct sock_extended_err));
	struct endpoint e;

	if (c->cmsg_len <= at)
		return (struct ip_addr){ 0 };
	memcpy(&ss, CMSG_DATA(c) + sizeof(struct sock_extended_err),
	       MIN(c->cmsg_len - at, sizeof(ss)));
	return endpoint_from_sockaddr(&ss, &e) < 0 ? (struct ip_addr){ 0 } : e.addr;
}

/* False: the queue is empty. */
static bool read_entry(const struct dgram_sock *s, struct entry *ret)
{
	union {
		char b[512];
		struct cmsghdr align;
	} ctl;
	struct sockaddr_storage name = { 0 };
	struct iovec iov = { ret->data, sizeof(ret->data) };
	struct msghdr m = {
		.msg_name = &name,
		.msg_namelen = sizeof(name),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl.b,
		.msg_controllen = sizeof(ctl.b),
	};
	ssize_t n = recvmsg(s->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);

	if (n < 0)
		return false;
	ret->len = (size_t)n;
	memset(&ret->e, 0, sizeof(ret->e));
	if (endpoint_from_sockaddr(&name, &ret->to) < 0)
		ret->to = (struct endpoint){ 0 };
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
		     (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) &&
		    c->cmsg_len >= CMSG_LEN(sizeof(ret->e))) {
			memcpy(&ret->e, CMSG_DATA(c), sizeof(ret->e));
			ret->offender = offender(c);
		}
	return true;
}

static void tell_entry(struct dgram_sock *s, const struct entry *x)
{
	struct netstack_flow *f = dgram_sock_flow(s, &x->to);
	struct dgram d = { .p = x->data, .len = x->len };

	if (!f)
		return;
	if (s->icmp) {
		/* The queue gives the echo header as the kernel sent it. */
		if (x->len < ICMP_HEAD)
			return;
		d.seq = get_be16(x->data + 6);
		d.p += ICMP_HEAD;
		d.len -= ICMP_HEAD;
	}
	f->c.error = (int)x->e.ee_errno;
	if (x->e.ee_origin == SO_EE_ORIGIN_ICMP || x->e.ee_origin == SO_EE_ORIGIN_ICMP6) {
		struct netstack_icmp e = {
			.from = x->offender,
			.type = x->e.ee_type,
			.code = x->e.ee_code,
			.info = x->e.ee_info,
		};

		e.from.family = x->e.ee_origin == SO_EE_ORIGIN_ICMP ? 4 : 6;
		tell_icmp(f, e, &d);
	}
}

/* All entries; returns the path MTU that the kernel itself last told, or 0. */
static uint32_t drain(struct dgram_sock *s, bool *ret_any)
{
	struct entry x;
	uint32_t mtu = 0;

	for (unsigned i = 0; i < LIMIT_DGRAM_BATCH && read_entry(s, &x); i++) {
		*ret_any = true;
		if (x.e.ee_origin == SO_EE_ORIGIN_LOCAL && x.e.ee_errno == EMSGSIZE)
			mtu = x.e.ee_info;
		else
			tell_entry(s, &x);
	}
	return mtu;
}

void dgram_errors(struct dgram_sock *s)
{
	struct dgram none = { 0 };
	int err = 0;
	socklen_t n = sizeof(err);
	bool any = false;

	(void)drain(s, &any);
	/* Reading the pending error clears it, or the loop would be called for ever. */
	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0 || !err || any || s->shared ||
	    !s->last)
		return;
	none.seq = s->last->echo_seq;
	s->last->c.error = err;
	tell_errno(s->last, err, &none);
}

static uint32_t socket_mtu(const struct dgram_sock *s)
{
	bool six = s->family == AF_INET6;
	int mtu = 0;
	socklen_t n = sizeof(mtu);

	if (getsockopt(s->fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_MTU : IP_MTU, &mtu, &n) < 0 ||
	    mtu < 0)
		return 0;
	return (uint32_t)mtu;
}

void dgram_error_sending(struct dgram_sock *s, struct netstack_flow *f, int error,
			 const struct dgram *d)
{
	bool any = false;
	uint32_t mtu;

	f->c.error = error;
	if (error != EMSGSIZE) {
		tell_errno(f, error, d);
		return;
	}
	mtu = drain(s, &any);
	if (!mtu)
		mtu = socket_mtu(s);
	if (mtu)
		tell_too_big(f, mtu, d);
}
