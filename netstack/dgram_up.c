/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of the guest to their host sockets, in batches.
 *
 * While the link's frames of one wake are worked off, datagrams are put aside
 * per socket (a frame's memory is lent until the next one is read) and go out
 * together: runs of equal size to one remote as one message with UDP_SEGMENT,
 * and all messages with one sendmmsg(). A frame that stands for several
 * datagrams already goes out as it is. The order within a socket is kept.
 *
 * A run that the kernel will not take (path MTU, no checksum offload) is sent
 * again datagram by datagram, so that each gets its own verdict.
 */
#include "netstack/icmp_types.h"
#include "netstack/netstack_internal.h"

#include <netinet/udp.h>

struct one {
	struct netstack_flow *f;
	const uint8_t *p;
	uint32_t len;
	uint8_t hops;
	bool df;
};

struct dgram_stage {
	struct dgram_sock *s;
	unsigned n;
	size_t bytes;
	struct one one[LIMIT_STAGE_DATAGRAMS];
	uint8_t buf[LIMIT_STAGE_BYTES];
};

/* What one sendmmsg() is made of; n messages for datagrams one[0..]. */
struct batch {
	unsigned n;
	unsigned count[LIMIT_USO_SEGMENTS]; /* datagrams in a message */
	struct mmsghdr m[LIMIT_USO_SEGMENTS];
	struct iovec iov[LIMIT_USO_SEGMENTS];
	struct sockaddr_storage to[LIMIT_USO_SEGMENTS];
	union {
		char b[CMSG_SPACE(sizeof(uint16_t))];
		struct cmsghdr align;
	} ctl[LIMIT_USO_SEGMENTS];
};

/* How many of the datagrams from one[0] on make one message: equal, but for a shorter last. */
static unsigned run_length(const struct dgram_sock *s, const struct one *o, unsigned n)
{
	size_t total = o->len;
	unsigned i = 1;

	if (s->no_gso || s->icmp || o->len == 0)
		return 1;
	while (i < n && i < LIMIT_GSO_SEGMENTS && o[i].f == o->f && o[i].len && o[i].len <= o->len &&
	       o[i].p == o[i - 1].p + o[i - 1].len && total + o[i].len <= LIMIT_GSO_BYTES) {
		total += o[i].len;
		if (o[i++].len < o->len)
			break;
	}
	return i;
}

static void add_message(struct batch *b, const struct dgram_sock *s, const struct one *o,
			unsigned count)
{
	struct msghdr *h = &b->m[b->n].msg_hdr;
	uint16_t size = (uint16_t)o->len;
	size_t total = 0;

	for (unsigned i = 0; i < count; i++)
		total += o[i].len;
	*h = (struct msghdr){ .msg_iov = &b->iov[b->n], .msg_iovlen = 1 };
	b->iov[b->n] = (struct iovec){ (void *)(uintptr_t)o->p, total };
	b->count[b->n] = count;
	if (s->shared) {
		h->msg_name = &b->to[b->n];
		h->msg_namelen = endpoint_to_sockaddr(&o->f->to, &b->to[b->n]);
	}
	if (count > 1) {
		struct cmsghdr *c;

		h->msg_control = b->ctl[b->n].b;
		h->msg_controllen = sizeof(b->ctl[b->n].b);
		c = CMSG_FIRSTHDR(h);
		c->cmsg_level = IPPROTO_UDP;
		c->cmsg_type = UDP_SEGMENT;
		c->cmsg_len = CMSG_LEN(sizeof(size));
		memcpy(CMSG_DATA(c), &size, sizeof(size));
	}
	b->n++;
}

static void count_sent(const struct one *o, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		o[i].f->c.packets_up++;
		o[i].f->c.bytes_up += o[i].len;
	}
}

static void failed(struct dgram_sock *s, const struct one *o, int error)
{
	struct dgram d = { .p = o->p, .len = o->len };

	dgram_error_sending(s, o->f, error, &d);
}

/* False: the socket takes no more, what is left is lost, as UDP may be. */
static bool send_single(struct dgram_sock *s, const struct one *o)
{
	struct batch *b = s->ns->up_batch;

	b->n = 0;
	add_message(b, s, o, 1);
	for (unsigned tries = 0; tries < 2;) {
		if (sendmsg(s->fd, &b->m[0].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
			count_sent(o, 1);
			return true;
		}
		if (errno == EAGAIN || errno == ENOBUFS)
			return false;
		if (errno != EINTR)
			tries++;
	}
	failed(s, o, errno);
	return true;
}

/*
 * One group: same hop limit, same leave to fragment. Returns how many datagrams
 * are dealt with; fewer than n when a run has to be sent piece by piece, which
 * needs the batch's memory.
 */
static unsigned send_group(struct dgram_sock *s, const struct one *o, unsigned n, bool *ret_full)
{
	struct batch *b = s->ns->up_batch;
	unsigned at = 0, done = 0, tries = 0;

	b->n = 0;
	for (unsigned i = 0; i < n; i += b->count[b->n - 1])
		add_message(b, s, o + i, run_length(s, o + i, n - i));
	while (at < b->n) {
		int r = sendmmsg(s->fd, b->m + at, b->n - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r > 0) {
			for (; r; r--, at++) {
				count_sent(o + done, b->count[at]);
				done += b->count[at];
			}
			tries = 0;
		} else if (errno == EAGAIN || errno == ENOBUFS) {
			*ret_full = true;
			return n;
		} else if (errno != EINTR && tries++) {
			/* Twice for the same message: its own fault, not an older one's. */
			if (b->count[at] > 1) {
				unsigned until = done + b->count[at];

				s->no_gso |= errno == EIO || errno == EOPNOTSUPP;
				while (done < until && send_single(s, o + done))
					done++;
				*ret_full = done < until;
				return until;
			}
			failed(s, o + done, errno);
			done++;
			at++;
			tries = 0;
		}
	}
	return n;
}

static void send_all(struct dgram_sock *s, const struct one *o, unsigned n)
{
	bool full = false;
	unsigned at = 0;

	while (at < n && !full) {
		unsigned end = at + 1;

		while (end < n && o[end].hops == o[at].hops && o[end].df == o[at].df)
			end++;
		dgram_sock_path(s, o[at].hops, o[at].df);
		while (at < end && !full)
			at += send_group(s, o + at, end - at, &full);
	}
	if (full)
		s->ns->stats.dropped_socket_full++;
}

/* ---- put aside ---------------------------------------------------------------- */

static void stage_flush(struct dgram_stage *st)
{
	struct dgram_sock *s = st->s;
	unsigned n = st->n;

	st->s = NULL;
	st->n = 0;
	st->bytes = 0;
	if (n >= LIMIT_DGRAM_BATCH)
		dgram_sock_busy(s);
	if (n)
		send_all(s, st->one, n);
}

void dgram_up_flush(struct netstack *ns, const struct dgram_sock *s)
{
	for (unsigned i = 0; ns->staged && i < LIMIT_STAGES; i++)
		if (ns->stages[i].s && (!s || ns->stages[i].s == s)) {
			stage_flush(&ns->stages[i]);
			ns->staged--;
		}
}

static struct dgram_stage *stage_for(struct netstack *ns, struct dgram_sock *s)
{
	struct dgram_stage *free_one = NULL;

	for (unsigned i = 0; i < LIMIT_STAGES; i++) {
		if (ns->stages[i].s == s)
			return &ns->stages[i];
		if (!ns->stages[i].s)
			free_one = &ns->stages[i];
	}
	if (!free_one) {
		free_one = &ns->stages[ns->next_stage++ % LIMIT_STAGES];
		stage_flush(free_one);
		ns->staged--;
	}
	free_one->s = s;
	ns->staged++;
	return free_one;
}

static void put_aside(struct netstack_flow *f, const struct dgram *d)
{
	struct netstack *ns = f->ns;
	struct dgram_stage *st = stage_for(ns, f->sock);

	if (st->n == LIMIT_STAGE_DATAGRAMS || st->bytes + d->len > LIMIT_STAGE_BYTES) {
		stage_flush(st);
		st->s = f->sock;
	}
	memcpy(st->buf + st->bytes, d->p, d->len);
	st->one[st->n++] = (struct one){
		.f = f,
		.p = st->buf + st->bytes,
		.len = (uint32_t)d->len,
		.hops = d->hops,
		.df = d->df,
	};
	st->bytes += d->len;
}

static bool have_memory(struct netstack *ns)
{
	if (!ns->stages)
		ns->stages = calloc(LIMIT_STAGES, sizeof(*ns->stages));
	if (!ns->up_batch)
		ns->up_batch = malloc(sizeof(*ns->up_batch));
	return ns->stages && ns->up_batch;
}

/* The kernel fills in identifier and checksum. */
static void send_echo(struct netstack_flow *f, const struct dgram *d)
{
	struct dgram_sock *s = f->sock;
	uint8_t head[ICMP_HEAD] = { s->family == AF_INET6 ? ECHO6_REQUEST : ECHO_REQUEST };
	struct iovec iov[2] = { { head, sizeof(head) }, { (void *)(uintptr_t)d->p, d->len } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

	put_be16(head + 6, d->seq);
	dgram_sock_path(s, d->hops, d->df);
	for (unsigned tries = 0; tries < 2;) {
		if (sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
			f->c.packets_up++;
			f->c.bytes_up += d->len;
			return;
		}
		if (errno == EAGAIN || errno == ENOBUFS) {
			f->ns->stats.dropped_socket_full++;
			return;
		}
		if (errno != EINTR)
			tries++;
	}
	dgram_error_sending(s, f, errno, d);
}

void dgram_up(struct netstack_flow *f, const struct dgram *d, size_t size)
{
	struct netstack *ns = f->ns;
	struct one o[LIMIT_USO_SEGMENTS];
	size_t at = 0;
	unsigned n = 0;

	if (f->sock->icmp) {
		send_echo(f, d);
		return;
	}
	if (!have_memory(ns)) {
		ns->stats.dropped_socket_full++;
		return;
	}
	if (ns->tcp.batching && d->len <= size && d->len <= LIMIT_STAGE_BYTES / 4) {
		put_aside(f, d);
		return;
	}
	dgram_up_flush(ns, f->sock);
	do {
		size_t len = MIN(size, d->len - at);

		o[n++] = (struct one){ f, d->p + at, (uint32_t)len, d->hops, d->df };
		at += len;
	} while (at < d->len && n < LIMIT_USO_SEGMENTS);
	if (n > 1)
		dgram_sock_busy(f->sock);
	send_all(f->sock, o, n);
}
