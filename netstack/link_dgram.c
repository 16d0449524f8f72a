/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The datagram link: one datagram is one frame, without a header of any kind.
 * QEMU (-netdev dgram), libkrun and vfkit (krun_add_net_unixgram) speak it.
 *
 * The socket is connected to the guest's side. That this one is gone shows only
 * when a datagram is refused; then the link is over. Who the guest is, and that
 * another has come, is for the process that sees their paths to find out.
 * vfkit's clients say "VFKT" once before their first frame; it is swallowed.
 *
 * Frames come in batches of recvmmsg() and are all handed out before the next;
 * they go out in batches of sendmmsg(), small ones from a queue at flush(),
 * those of a super-segment at once with their payload where it is. What the
 * socket does not take of a super-segment that was begun is queued; until the
 * queue is gone nothing else is accepted.
 *
 * Hostile: nothing but the frames themselves; a datagram too long for a frame
 * is handed on as an empty one, which is counted as malformed.
 */
#include "netstack/netstack_internal.h"

#include <unistd.h>

#define BATCH 64
#define QUEUE_FRAMES 1024
#define QUEUE_BYTES (256u << 10)
/* Full for small frames: the rest is for a super-segment cut into the smallest segments. */
#define QUEUE_SMALL 128
#define SMALL_BYTES (64u << 10)
#define SMALL 4096
#define MAGIC "VFKT"

/* Behind link and flags; not zeroed at birth. */
struct dgram_bufs {
	struct mmsghdr in[BATCH];
	struct iovec in_iov[BATCH];
	uint32_t queue_len[QUEUE_FRAMES];
	struct mmsghdr msg[LINK_GATHER];
	struct iovec iov[LINK_GATHER * 3];
	uint8_t head[LINK_GATHER][LINK_GATHER_HEAD];
	uint8_t queue[QUEUE_BYTES];
	uint8_t frame[BATCH][LIMIT_FRAME];
};

struct link_dgram {
	struct ns_link link;
	struct loop_io io;
	struct loop_task more;
	int fd;
	bool fresh; /* the guest has sent nothing yet */
	bool gone;  /* the guest's socket refused what we sent */
	bool blocked;
	unsigned in_at, in_n;
	unsigned q_at, q_n; /* frames queued: q_at..q_n of queue_len */
	size_t q_off, q_end;
	unsigned n_msg, n_iov; /* gathered */
	bool begun;
	struct dgram_bufs b;
};

static struct link_dgram *dgram(struct ns_link *l)
{
	return container_of(l, struct link_dgram, link);
}

static void forget_queue(struct link_dgram *d)
{
	d->q_at = d->q_n = 0;
	d->q_off = d->q_end = 0;
}

static void set_blocked(struct link_dgram *d, bool on)
{
	d->blocked = on;
	loop_io_set(&d->io, EPOLLIN | (on ? EPOLLOUT : 0));
}

/* The last thing its caller does: the stack may free us from inside. */
static void lost(struct link_dgram *d)
{
	d->link.why = d->gone ? "the machine's socket refuses what is sent"
			      : "the machine has closed its socket";
	loop_io_del(&d->io);
	loop_task_cancel(d->link.loop, &d->more);
	d->in_at = d->in_n = 0;
	forget_queue(d);
	fd_close(steal_fd(&d->fd));
	d->link.events->down(&d->link, true);
}

/* ---- from the guest ---------------------------------------------------- */

static int dgram_read(struct ns_link *l, struct link_rx *ret)
{
	struct link_dgram *d = dgram(l);
	unsigned i = d->in_at;

	if (i == d->in_n)
		return 0;
	link_rx_set(ret, d->b.frame[i],
		    d->b.in[i].msg_hdr.msg_flags & MSG_TRUNC ? 0 : d->b.in[i].msg_len);
	ret->maybe_partial = true;
	if (++d->in_at < d->in_n)
		loop_task_queue(l->loop, &d->more);
	return 1;
}

static void on_more(struct loop_task *t)
{
	struct link_dgram *d = container_of(t, struct link_dgram, more);

	if (d->gone)
		lost(d);
	else
		d->link.events->readable(&d->link);
}

/* Negative errno when there is nothing. */
static int fill(struct link_dgram *d)
{
	int n;

	for (unsigned i = 0; i < BATCH; i++) {
		d->b.in_iov[i] = (struct iovec){ d->b.frame[i], LIMIT_FRAME };
		d->b.in[i].msg_hdr = (struct msghdr){ .msg_iov = &d->b.in_iov[i], .msg_iovlen = 1 };
	}
	do
		n = recvmmsg(d->fd, d->b.in, BATCH, MSG_DONTWAIT, NULL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	d->in_at = 0;
	d->in_n = (unsigned)n;
	/* Of a client that says so: it speaks vfkit's dialect, which is ours but for this. */
	if (n && d->fresh && d->b.in[0].msg_len == 4 && memcmp(d->b.frame[0], MAGIC, 4) == 0)
		d->in_at = 1;
	if (n)
		d->fresh = false;
	return 0;
}

/* ---- to the guest ------------------------------------------------------- */

/* How many of them the socket took. What it can never take is dropped on the way. */
static unsigned send_some(struct link_dgram *d, struct mmsghdr *m, unsigned n)
{
	unsigned done = 0;

	while (done < n) {
		int r = sendmmsg(d->fd, m + done, n - done, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r > 0) {
			done += (unsigned)r;
		} else if (errno == EAGAIN) {
			break;
		} else if (errno == EMSGSIZE || errno == ENOBUFS || errno == ENOMEM) {
			done++;
		} else if (errno != EINTR) {
			/* Nobody is there. Not from here: the stack is on the stack. */
			d->gone = true;
			loop_task_queue(d->link.loop, &d->more);
			return n;
		}
	}
	return done;
}

static void send_queue(struct link_dgram *d)
{
	while (d->q_at < d->q_n) {
		unsigned n = MIN(d->q_n - d->q_at, (unsigned)LINK_GATHER), sent;
		size_t off = d->q_off;

		for (unsigned i = 0; i < n; i++) {
			d->b.iov[i] = (struct iovec){ d->b.queue + off, d->b.queue_len[d->q_at + i] };
			d->b.msg[i].msg_hdr =
				(struct msghdr){ .msg_iov = &d->b.iov[i], .msg_iovlen = 1 };
			off += d->b.iov[i].iov_len;
		}
		sent = send_some(d, d->b.msg, n);
		for (unsigned i = 0; i < sent; i++)
			d->q_off += d->b.queue_len[d->q_at++];
		if (sent < n)
			return;
	}
	forget_queue(d);
}

static int queue_frame(struct link_dgram *d, const struct link_tx *tx)
{
	size_t n = link_tx_len(tx);

	if (d->q_n == QUEUE_FRAMES || QUEUE_BYTES - d->q_end < n)
		return -ENOBUFS;
	d->b.queue_len[d->q_n++] = (uint32_t)link_copy(tx, d->b.queue + d->q_end);
	d->q_end += n;
	return 0;
}

/* What was gathered and not sent, as frames of the queue. */
static int keep_rest(struct link_dgram *d, unsigned sent)
{
	for (unsigned i = sent; i < d->n_msg; i++) {
		const struct msghdr *m = &d->b.msg[i].msg_hdr;
		struct link_tx tx = { .head = m->msg_iov[0].iov_base,
				      .head_len = m->msg_iov[0].iov_len };
		int r;

		for (size_t k = 1; k < m->msg_iovlen; k++)
			tx.data[tx.n_data++] = m->msg_iov[k];
		r = queue_frame(d, &tx);
		if (r < 0)
			return r;
	}
	return 0;
}

/* -EAGAIN: none of the super-segment was begun. */
static int send_gathered(struct link_dgram *d)
{
	unsigned sent = send_some(d, d->b.msg, d->n_msg);
	int r = 0;

	if (sent < d->n_msg) {
		set_blocked(d, true);
		r = !sent && !d->begun ? -EAGAIN : keep_rest(d, sent);
	}
	d->begun = true;
	d->n_msg = d->n_iov = 0;
	return r;
}

static int gather(void *ctx, const struct link_tx *one)
{
	struct link_dgram *d = ctx;
	struct iovec *first;
	int r;

	if (!d->blocked && d->n_msg == LINK_GATHER && (r = send_gathered(d)) < 0)
		return r;
	if (d->blocked)
		return queue_frame(d, one);
	assert(one->head_len <= LINK_GATHER_HEAD);
	memcpy(d->b.head[d->n_msg], one->head, one->head_len);
	first = &d->b.iov[d->n_iov];
	d->b.iov[d->n_iov++] = (struct iovec){ d->b.head[d->n_msg], one->head_len };
	for (unsigned i = 0; i < one->n_data; i++)
		d->b.iov[d->n_iov++] = one->data[i];
	d->b.msg[d->n_msg++].msg_hdr =
		(struct msghdr){ .msg_iov = first, .msg_iovlen = 1 + one->n_data };
	return 0;
}

static int dgram_write(struct ns_link *l, const struct link_tx *tx)
{
	struct link_dgram *d = dgram(l);
	int r;

	if (d->fd < 0 || d->gone)
		return -EPIPE;
	if (d->blocked)
		return -EAGAIN;
	if (!tx->gso && link_tx_len(tx) <= SMALL) {
		if (d->q_n >= QUEUE_SMALL || d->q_end > SMALL_BYTES)
			send_queue(d);
		if (d->q_n >= QUEUE_SMALL || d->q_end > SMALL_BYTES) {
			set_blocked(d, true);
			return -EAGAIN;
		}
		return queue_frame(d, tx);
	}
	/* In order: what waits goes first. */
	send_queue(d);
	if (d->q_n) {
		set_blocked(d, true);
		return -EAGAIN;
	}
	d->n_msg = d->n_iov = 0;
	d->begun = false;
	r = link_segment(tx, &l->caps, gather, d);
	if (r == 0 && d->n_msg)
		r = send_gathered(d);
	return r;
}

static void dgram_flush(struct ns_link *l)
{
	struct link_dgram *d = dgram(l);

	if (d->fd < 0 || d->gone || d->blocked)
		return;
	send_queue(d);
	if (d->q_n)
		set_blocked(d, true);
}

/* ---- the socket ----------------------------------------------------------- */

static void on_io(struct loop_io *io, uint32_t revents)
{
	struct link_dgram *d = container_of(io, struct link_dgram, io);
	int r;

	if (revents & EPOLLOUT) {
		send_queue(d);
		if (!d->q_n) {
			set_blocked(d, false);
			d->link.events->writable(&d->link);
		}
	}
	if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	r = fill(d);
	/* The end of a SOCK_SEQPACKET connection reads as empty datagrams for ever. */
	if (r == 0 && (revents & EPOLLHUP) && d->b.in[0].msg_len == 0)
		r = -ECONNRESET;
	if (r == 0)
		d->link.events->readable(&d->link);
	else if (r != -EAGAIN)
		lost(d);
}

static void dgram_free(struct ns_link *l)
{
	struct link_dgram *d = dgram(l);

	loop_io_del(&d->io);
	loop_task_cancel(l->loop, &d->more);
	fd_close(d->fd);
	free(d);
}

static const struct link_driver link_dgram = {
	.name = "dgram",
	.read = dgram_read,
	.write = dgram_write,
	.flush = dgram_flush,
	.free = dgram_free,
};

int link_dgram_new(struct loop *loop, int fd, const struct link_events *e, void *ctx,
		   struct ns_link **ret)
{
	struct sockaddr_storage peer;
	struct link_dgram *d;
	int type = 0, size = 4 << 20, r;
	socklen_t n = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0)
		return -errno;
	if (type != SOCK_DGRAM && type != SOCK_SEQPACKET)
		return -EPROTOTYPE;
	n = sizeof(peer);
	if (getpeername(fd, (struct sockaddr *)&peer, &n) < 0)
		return -errno;
	r = fd_set_nonblock(fd, true);
	if (r < 0)
		return r;
	/* Not zeroed: the buffers are large, and pages that are never used cost nothing. */
	d = malloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	memset(d, 0, offsetof(struct link_dgram, b));
	d->link = (struct ns_link){ .drv = &link_dgram, .events = e, .ctx = ctx, .loop = loop };
	d->more.cb = on_more;
	d->link.is_up = d->fresh = true;
	/* Best effort: a burst of super-segments on their way, whatever the default is. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r = loop_io_add(loop, &d->io, fd, EPOLLIN, on_io);
	if (r < 0) {
		free(d);
		return r;
	}
	d->fd = fd;
	*ret = &d->link;
	return 0;
}
