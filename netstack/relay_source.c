/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host TCP socket's receive queue as the send queue of a guest flow.
 *
 *      consumed          acked            sent         committed
 *         │ taken out soon │  in flight     │ known, unsent │ not looked at yet
 *    ─────┴────────────────┴────────────────┴───────────────┴──────► stream
 *
 * Bulk: bytes are read with MSG_PEEK at SO_PEEK_OFF (Linux 6.9 for TCP) into one
 * buffer shared by all flows, just before they become a frame; they leave the
 * socket only after the guest has acknowledged them. So a flow has no payload
 * in our memory, the copy is made in a warm cache, and a guest that does not
 * read stops the far end by TCP's own window.
 *
 * But what is only peeked the kernel acknowledges late, and a far end with
 * Nagle's algorithm waits for that. So while little comes, and nothing is left
 * in the socket, it is read into the engine's small ring (then `consumed` is
 * ahead of what is acknowledged, and nothing has to be taken out); should no
 * bytes of the guest's carry the acknowledgement, TCP_QUICKACK sends one. A read
 * as large as the ring makes the flow bulk, an empty socket ends that.
 *
 * The kernel keeps a copy of our position. peek_at mirrors it, and this file
 * alone moves it: forwards by what was peeked, never below `consumed`.
 *
 * Where the link has room() in the guest's memory, a look at a flow that moves much
 * only counts what there is (FIONREAD); each segment is then peeked straight to its
 * place (relay_source_fill): the kernel's copy is the only one.
 *
 * Who stops reading is always called again. no_room is set only with the
 * engine's promise of TCP_WRITABLE (tcp_tx_wait), in_ready becomes false only
 * by a read that emptied the queue, bytes that are all acknowledged are taken
 * out in the same turn, and the aux timer stands for those that are not.
 *
 * MSG_TRUNC takes bytes out without copying them; the window that the far end
 * is given grows by it as by a read. Urgent bytes stay in line (RFC 6093), or
 * offsets would not match. Everything else (AF_UNIX, older kernels) is read
 * into the engine's ring, which then grows as it needs.
 */
#include "netstack/netstack_internal.h"

#include <linux/tcp.h>
#include <sys/ioctl.h>

bool relay_source_begin(struct netstack_flow *f)
{
	struct netstack *ns = f->ns;
	int domain = 0, zero = 0, one = 1;
	socklen_t n = sizeof(domain);

	if (f->peek)
		return true;
	if (ns->no_peek || getsockopt(f->fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0 ||
	    (domain != AF_INET && domain != AF_INET6))
		return false;
	if (!ns->peek_buf)
		ns->peek_buf = malloc(LIMIT_FRAME);
	if (!ns->peek_buf)
		return false;
	if (setsockopt(f->fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) < 0) {
		ns->no_peek = true;
		return false;
	}
	(void)setsockopt(f->fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
	tcp_tx_external(f->tcp);
	/* What the owner has put in front is in the ring. */
	f->consumed = f->peek_at = f->committed;
	return true;
}

void relay_source_undo(struct netstack_flow *f)
{
	int off = -1, zero = 0;

	if (!f->peek)
		return;
	f->peek = false;
	(void)setsockopt(f->fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
	(void)setsockopt(f->fd, SOL_SOCKET, SO_OOBINLINE, &zero, sizeof(zero));
}

static int seek(struct netstack_flow *f, uint64_t off)
{
	int rel;

	assert(off >= f->consumed && off - f->consumed <= INT32_MAX);
	if (off == f->peek_at)
		return 0;
	rel = (int)(off - f->consumed);
	if (setsockopt(f->fd, SOL_SOCKET, SO_PEEK_OFF, &rel, sizeof(rel)) < 0)
		return -errno;
	f->peek_at = off;
	return 0;
}

static ssize_t peek(struct netstack_flow *f, uint8_t *p, size_t n)
{
	ssize_t r;

	do
		r = recv(f->fd, p, n, MSG_PEEK | MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	f->peek_at += (size_t)r;
	return r;
}

/* How much waits, LIMIT_TSO at most; less than want is what there is at this moment. */
static size_t count(struct netstack_flow *f, size_t want)
{
	int queued = 0;

	if (f->seen < f->committed + want && ioctl(f->fd, FIONREAD, &queued) == 0 && queued > 0)
		f->seen = MAX(f->seen, f->consumed + (size_t)queued);
	return f->seen > f->committed ? (size_t)MIN(f->seen - f->committed, (uint64_t)LIMIT_TSO) : 0;
}

static ssize_t supply(struct netstack_flow *f, size_t n)
{
	f->committed += n;
	rate_spend(f, RATE_DOWN, n, 0);
	tcp_tx_supply(f->tcp, n, ns_now(f->ns));
	f->no_room = tcp_tx_wait(f->tcp);
	return (ssize_t)n;
}

bool relay_source_small(struct netstack_flow *f)
{
	return !f->bulk && f->consumed == f->committed && tcp_tx_room(f->tcp) >= LIMIT_SMALL_MIN;
}

void relay_source_took(struct netstack_flow *f, size_t n, bool all)
{
	f->consumed += n;
	f->peek_at = MAX(f->peek_at, f->consumed);
	f->bulk = !all;
	f->ack_owed = true;
	/* Put off by each read: a far end that goes on sending does not wait. */
	loop_timer_set(f->ns->loop, &f->aux, ns_now(f->ns) + LIMIT_HOST_ACK_NS);
}

/* Does this flow move much? Few small looks in between do not change that. */
static void note_size(struct netstack_flow *f, size_t n)
{
	if (n >= LIMIT_IN_PLACE)
		f->much = LIMIT_MUCH_LOOKS;
	else if (n && f->much)
		f->much--;
}

/* A look that does not copy: bytes supplied, 0: it takes a real one. */
static ssize_t look(struct netstack_flow *f, size_t want)
{
	const struct ns_link *l = f->ns->link;
	size_t n;

	if (!f->much || want < LIMIT_IN_PLACE || !l || !l->drv->room)
		return 0;
	n = MIN(count(f, want), want);
	if (n < LIMIT_IN_PLACE)
		return 0;
	note_size(f, n);
	f->peeks += f->peeks < UINT8_MAX;
	if (n < want && !f->drain)
		f->in_ready = false;
	return supply(f, n);
}

ssize_t relay_source_peek(struct netstack_flow *f)
{
	struct netstack *ns = f->ns;
	size_t want, may;
	ssize_t r;

	may = rate_allow(f, RATE_DOWN, LIMIT_TSO);
	if (!may)
		return -EDQUOT;
	want = MIN(tcp_tx_wanted(f->tcp), may);
	/* The window is closed: how much waits is all that matters now (the persist timer). */
	if (!want) {
		size_t waits = count(f, LIMIT_TSO);

		if (waits)
			return supply(f, MIN(waits, may));
		want = 1; /* nothing, an error, or the end */
	}
	r = look(f, want);
	if (r)
		return r;
	r = seek(f, f->committed);
	if (r == 0)
		r = peek(f, ns->peek_buf, want);
	else
		return r;
	if (r <= 0)
		return r;
	f->peeks += f->peeks < UINT8_MAX;
	note_size(f, (size_t)r);
	if ((size_t)r < want)
		f->in_ready = f->drain;
	ns->peeked = f;
	ns->peeked_at = f->committed;
	ns->peeked_len = (size_t)r;
	r = supply(f, (size_t)r);
	ns->peeked = NULL;
	return r;
}

bool relay_source_at_hand(const struct netstack_flow *f, uint64_t off, size_t n)
{
	const struct netstack *ns = f->ns;

	return ns->peeked == f && off >= ns->peeked_at && off + n <= ns->peeked_at + ns->peeked_len;
}

static bool there(const struct netstack_flow *f, uint64_t off, size_t n)
{
	return f->fd >= 0 && off >= f->consumed && off + n <= f->committed && n <= LIMIT_FRAME;
}

int relay_source_fill(struct netstack_flow *f, uint64_t off, struct iovec *iov, unsigned n_iov,
		      size_t n)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = n_iov };
	ssize_t r;

	if (!there(f, off, n) || seek(f, off) < 0)
		return -EIO;
	do
		r = recvmsg(f->fd, &m, MSG_PEEK | MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno; /* EFAULT: that memory is gone; a copy finds out whose */
	f->peek_at += (size_t)r;
	return (size_t)r == n ? 0 : -EIO; /* an urgent mark ends a read early */
}

const uint8_t *relay_source_fetch(struct netstack_flow *f, uint64_t off, size_t n)
{
	struct netstack *ns = f->ns;
	size_t got = 0;
	ssize_t r;

	if (relay_source_at_hand(f, off, n))
		return ns->peek_buf + (off - ns->peeked_at);
	if (!there(f, off, n))
		return NULL;
	ns->peeked = NULL;
	if (seek(f, off) < 0)
		return NULL;
	while (got < n) { /* an urgent mark ends a read early */
		r = peek(f, ns->peek_buf + got, n - got);
		if (r <= 0)
			return NULL;
		got += (size_t)r;
	}
	return ns->peek_buf;
}

static uint64_t consumable(const struct netstack_flow *f)
{
	uint64_t acked = tcp_acked_bytes(f->tcp);

	assert(acked <= f->committed && f->consumed <= f->committed);
	return acked > f->consumed ? acked - f->consumed : 0;
}

bool relay_source_due(const struct netstack_flow *f)
{
	uint64_t n;

	if (!f->peek)
		return false;
	n = consumable(f);
	if (n >= LIMIT_UNCONSUMED || (n && f->peeks >= LIMIT_UNCONSUMED_READS))
		return true;
	return n && f->consumed + n == f->committed;
}

bool relay_source_waits(const struct netstack_flow *f)
{
	return f->peek && consumable(f) && !f->resetting && !loop_timer_armed(&f->aux);
}

static void take_out(struct netstack_flow *f)
{
	uint64_t n;
	ssize_t r;

	while ((n = consumable(f)) && f->fd >= 0) {
		do
			r = recv(f->fd, NULL, (size_t)MIN(n, (uint64_t)INT32_MAX),
				 MSG_TRUNC | MSG_DONTWAIT);
		while (r < 0 && errno == EINTR);
		if (r <= 0)
			break;
		f->consumed += (size_t)r;
		f->peek_at = MAX(f->peek_at, f->consumed);
	}
	f->peeks = 0;
}

/* The guest has not answered what was read: nothing carries the acknowledgement. */
static void ack_now(struct netstack_flow *f)
{
	int one = 1;

	if (f->ack_owed && f->fd >= 0)
		(void)setsockopt(f->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
	f->ack_owed = false;
}

void relay_source_consume(struct netstack_flow *f)
{
	if (!f->peek)
		return;
	if (f->consume || relay_source_due(f))
		take_out(f);
	if (f->consumed == f->committed && !f->in_ready)
		f->bulk = false;
	if (f->consume)
		ack_now(f);
	f->consume = false;
	/* The rest leaves soon: it is the far end's window, and a silent flow keeps nothing. */
	if (relay_source_waits(f))
		loop_timer_set(f->ns->loop, &f->aux, ns_now(f->ns) + LIMIT_UNCONSUMED_NS);
}

/* A socket closed with bytes in it resets its peer: nothing acknowledged may stay. */
void relay_source_end(struct netstack_flow *f)
{
	if (f->peek && f->fd >= 0)
		take_out(f);
	if (f->ns->peeked == f)
		f->ns->peeked = NULL;
	f->peek = false;
}
