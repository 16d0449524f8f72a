/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream link: frames over a stream socket, each behind its length in four
 * bytes, big-endian, that do not count themselves. QEMU (-netdev stream),
 * passt's clients and libkrun (krun_add_net_unixstream) speak it. There is no
 * virtio header, so we cut and sum; libkrun offers its guest offloads all the
 * same, so frames up to the largest IP packet come, with checksums that may be
 * unfinished (link_rx.maybe_partial).
 *
 * The socket is connected (its end is the link's end) or listens: then one
 * guest at a time is served, a second is closed at once, and when a guest has
 * gone the next one may come.
 *
 * From the guest: one recv() per wake into a large buffer, frames are handed
 * out where they lie. All of them are before the next recv(), so what one wake
 * costs is bounded by the buffer. To the guest: small frames wait in `out`
 * until flush(); of super-segments the headers are gathered and the payload is
 * sent from where it is, right away. What the socket does not take of a frame
 * that was begun is kept in `out`, and until that is gone nothing else is
 * accepted: `out` is bounded by one queue of small frames and one
 * super-segment.
 *
 * A VMM that writes frame by frame would wake us for each of a bulk upload, and
 * a wake costs more than a frame. When a millisecond brought a lot in many
 * small pieces, and little went the other way (nobody waits for an answer), the
 * socket is looked at when a short pause is over instead of at once, until a
 * few pauses bring nothing. Like interrupt moderation of a network card.
 *
 * Hostile: the length. Zero is an empty frame, which is counted as malformed;
 * more than LIMIT_STREAM_FRAME means that we and the peer do not agree where
 * frames begin, and the connection is closed.
 */
#include "netstack/netstack_internal.h"

#include <unistd.h>

#define PREFIX 4
#define IN_SIZE (256u << 10)
/* Small frames that wait for flush(). */
#define QUEUE_MAX (64u << 10)
/* And the rest of a super-segment cut into the smallest segments there are. */
#define OUT_SIZE (QUEUE_MAX + (256u << 10))
/* A frame up to this is copied into the queue rather than sent at once. */
#define SMALL 4096
#define ACCEPT_RETRY_NS (200 * NS_PER_MS)
/* Rounds of the loop in which the end of the guest before shows, behind its last frames. */
#define ACCEPT_ROUNDS 3

/* Moderation: over one window so much in so many wakes, each below this, and how long a pause is. */
#define MOD_WINDOW_NS NS_PER_MS
#define MOD_BYTES (48u << 10)
#define MOD_WAKES 8
#define MOD_SMALL (16u << 10)
#define MOD_PAUSE_NS UINT64_C(80000)
/* Pauses in a row that brought nothing, and all is as before: the VMM may just not have run. */
#define MOD_EMPTY 3

static const char closed[] = "the machine has closed the connection";

struct moderation {
	struct loop_timer timer;
	bool on;
	uint64_t since;
	size_t bytes, sent;
	unsigned wakes, empty;
};

struct link_stream {
	struct ns_link link;
	struct loop_io io, listen_io;
	struct loop_task more; /* frames are left in the buffer */
	struct loop_timer accept_retry;
	struct moderation mod;
	int fd, listen_fd;
	bool blocked;	 /* the socket was full; `out` goes first */
	bool refused;	 /* another guest was, while this one is here: said once */
	unsigned knocks; /* rounds that another guest has waited */
	size_t in_off, in_len;
	size_t out_off, out_len;
	/* frames of one super-segment */
	struct iovec iov[1 + LINK_GATHER * 3];
	unsigned n_iov, n_head;
	size_t gathered;
	bool begun; /* part of it is on its way */
	uint8_t head[LINK_GATHER][LINK_GATHER_HEAD];
	uint8_t out[OUT_SIZE];
	uint8_t in[IN_SIZE];
};

static struct link_stream *stream(struct ns_link *l)
{
	return container_of(l, struct link_stream, link);
}

/* The last thing its caller does: the stack may free us from inside. */
static void lost(struct link_stream *s, const char *why)
{
	s->link.why = why;
	loop_io_del(&s->io);
	loop_task_cancel(s->link.loop, &s->more);
	loop_timer_del(s->link.loop, &s->mod.timer);
	s->mod.on = false;
	fd_close(steal_fd(&s->fd));
	s->in_off = s->in_len = s->out_off = s->out_len = 0;
	s->blocked = s->refused = false;
	s->link.events->down(&s->link, s->listen_fd < 0);
}

/* ---- from the guest ---------------------------------------------------- */

/* A whole frame at the front of the buffer: 1; 0: not yet; -EMSGSIZE: framing is lost. */
static int front(const struct link_stream *s, size_t *ret_len)
{
	size_t n;

	if (s->in_len < PREFIX)
		return 0;
	n = get_be32(s->in + s->in_off);
	if (n > LIMIT_STREAM_FRAME)
		return -EMSGSIZE;
	*ret_len = n;
	return s->in_len - PREFIX >= n;
}

static int stream_read(struct ns_link *l, struct link_rx *ret)
{
	struct link_stream *s = stream(l);
	size_t n = 0;
	int r = s->fd < 0 ? 0 : front(s, &n);

	if (r < 0) {
		log_warn(
			"link: a frame of %u bytes announced, at most %u can be; connection closed",
			get_be32(s->in + s->in_off), LIMIT_STREAM_FRAME);
		l->faults++;
		lost(s, "a frame longer than any was announced");
		return 0;
	}
	if (r == 0)
		return 0;
	link_rx_set(ret, s->in + s->in_off + PREFIX, n);
	ret->maybe_partial = true;
	s->in_off += PREFIX + n;
	s->in_len -= PREFIX + n;
	if (front(s, &n))
		loop_task_queue(l->loop, &s->more);
	return 1;
}

static void on_more(struct loop_task *t)
{
	struct link_stream *s = container_of(t, struct link_stream, more);

	s->link.events->readable(&s->link);
}

/* One recv() behind what is left of a frame. False: the connection is over. */
static bool fill(struct link_stream *s)
{
	ssize_t n;

	if (s->in_off) {
		memmove(s->in, s->in + s->in_off, s->in_len);
		s->in_off = 0;
	}
	do
		n = recv(s->fd, s->in + s->in_len, IN_SIZE - s->in_len, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		s->in_len += (size_t)n;
	s->mod.bytes += n > 0 ? (size_t)n : 0;
	return n > 0 || (n < 0 && errno == EAGAIN);
}

/* ---- to the guest ------------------------------------------------------- */

static void set_interest(struct link_stream *s)
{
	loop_io_set(&s->io, (s->mod.on ? 0 : EPOLLIN) | (s->blocked ? EPOLLOUT : 0));
}

static void set_blocked(struct link_stream *s, bool on)
{
	s->blocked = on;
	set_interest(s);
}

/* Bytes the socket took; 0: none, errno says why. */
static size_t send_some(struct link_stream *s, struct iovec *iov, unsigned n)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t r;

	do
		r = sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	return r > 0 ? (size_t)r : 0;
}

/* A socket that is broken says so when it is read from; here its frames are lost. */
static void send_queue(struct link_stream *s)
{
	struct iovec iov = { s->out + s->out_off, s->out_len };
	size_t n;

	if (!s->out_len)
		return;
	n = send_some(s, &iov, 1);
	if (!n && errno != EAGAIN)
		n = s->out_len;
	s->out_off += n;
	s->out_len -= n;
	if (!s->out_len)
		s->out_off = 0;
}

static uint8_t *queue_end(struct link_stream *s, size_t room)
{
	if (OUT_SIZE - s->out_off - s->out_len < room && s->out_off) {
		memmove(s->out, s->out + s->out_off, s->out_len);
		s->out_off = 0;
	}
	return OUT_SIZE - s->out_off - s->out_len < room ? NULL : s->out + s->out_off + s->out_len;
}

static int queue_frame(struct link_stream *s, const struct link_tx *tx)
{
	size_t n = link_tx_len(tx);
	uint8_t *p = queue_end(s, PREFIX + n);

	if (!p)
		return -ENOBUFS;
	put_be32(p, (uint32_t)n);
	s->out_len += PREFIX + link_copy(tx, p + PREFIX);
	return 0;
}

/* Keep what the socket did not take of the gathered frames. */
static int keep_rest(struct link_stream *s, size_t sent)
{
	for (unsigned i = 1; i < s->n_iov; i++) {
		size_t skip = MIN(sent, s->iov[i].iov_len), n = s->iov[i].iov_len - skip;
		uint8_t *p = queue_end(s, n);

		sent -= skip;
		if (!n)
			continue;
		if (!p)
			return -ENOBUFS;
		memcpy(p, (uint8_t *)s->iov[i].iov_base + skip, n);
		s->out_len += n;
	}
	return 0;
}

/* Send the queue and the gathered frames. -EAGAIN: none of the frames was begun. */
static int send_gathered(struct link_stream *s)
{
	size_t queued = s->out_len, total = queued + s->gathered, n;
	unsigned skip = queued ? 0 : 1;
	int r = 0;

	s->iov[0] = (struct iovec){ s->out + s->out_off, queued };
	n = send_some(s, s->iov + skip, s->n_iov - skip);
	if (!n && errno != EAGAIN)
		n = total;
	s->out_off += MIN(n, queued);
	s->out_len -= MIN(n, queued);
	if (!s->out_len)
		s->out_off = 0;
	if (n < total)
		set_blocked(s, true);
	if (n <= queued && n < total && !s->begun)
		r = -EAGAIN;
	else if (n < total)
		r = keep_rest(s, n > queued ? n - queued : 0);
	s->begun = true;
	s->n_iov = 1;
	s->n_head = 0;
	s->gathered = 0;
	return r;
}

static int gather(void *ctx, const struct link_tx *one)
{
	struct link_stream *s = ctx;
	size_t n = link_tx_len(one);
	uint8_t *h;
	int r;

	if (s->blocked)
		return queue_frame(s, one);
	if (s->n_head == LINK_GATHER && (r = send_gathered(s)) < 0)
		return r;
	if (s->blocked)
		return queue_frame(s, one);
	assert(one->head_len <= LINK_GATHER_HEAD - PREFIX);
	h = s->head[s->n_head++];
	put_be32(h, (uint32_t)n);
	memcpy(h + PREFIX, one->head, one->head_len);
	s->iov[s->n_iov++] = (struct iovec){ h, PREFIX + one->head_len };
	for (unsigned i = 0; i < one->n_data; i++)
		s->iov[s->n_iov++] = one->data[i];
	s->gathered += PREFIX + n;
	return 0;
}

static int stream_write(struct ns_link *l, const struct link_tx *tx)
{
	struct link_stream *s = stream(l);
	int r;

	if (s->fd < 0)
		return -EPIPE;
	if (s->blocked)
		return -EAGAIN;
	if (!tx->gso && link_tx_len(tx) <= SMALL) {
		if (s->out_len + PREFIX + SMALL > QUEUE_MAX)
			send_queue(s);
		if (s->out_len + PREFIX + SMALL > QUEUE_MAX) {
			set_blocked(s, true);
			return -EAGAIN;
		}
		return queue_frame(s, tx);
	}
	s->mod.sent += link_tx_len(tx);
	s->n_iov = 1;
	s->n_head = 0;
	s->gathered = 0;
	s->begun = false;
	r = link_segment(tx, &l->caps, gather, s);
	if (r == 0 && s->n_head)
		r = send_gathered(s);
	return r;
}

static void stream_flush(struct ns_link *l)
{
	struct link_stream *s = stream(l);

	if (s->fd < 0 || s->blocked)
		return;
	send_queue(s);
	if (s->out_len)
		set_blocked(s, true);
}

/* ---- how often the guest's side is looked at -------------------------------- */

static void pause_reading(struct link_stream *s)
{
	s->mod.on = true;
	s->mod.empty = 0;
	set_interest(s);
	loop_timer_set(s->link.loop, &s->mod.timer, loop_now(s->link.loop) + MOD_PAUSE_NS);
}

/* One wake more; true when the next one is to be put off. */
static bool moderate(struct moderation *m, uint64_t now)
{
	bool many;

	m->wakes++;
	if (now - m->since < MOD_WINDOW_NS)
		return false;
	many = now - m->since < 2 * MOD_WINDOW_NS && m->wakes >= MOD_WAKES &&
	       m->bytes >= MOD_BYTES && m->bytes / m->wakes < MOD_SMALL && m->sent < m->bytes / 8;
	m->since = now;
	m->bytes = m->sent = m->wakes = 0;
	return many;
}

static void on_pause_over(struct loop_timer *t)
{
	struct link_stream *s = container_of(t, struct link_stream, mod.timer);
	size_t before = s->in_len;

	if (!fill(s)) {
		lost(s, closed);
		return;
	}
	s->mod.empty = s->in_len > before ? 0 : s->mod.empty + 1;
	s->mod.on = s->mod.empty < MOD_EMPTY && s->mod.sent <= s->mod.bytes / 8;
	s->mod.bytes = s->mod.sent = 0;
	if (s->mod.on)
		loop_timer_set(s->link.loop, t, loop_now(s->link.loop) + MOD_PAUSE_NS);
	else
		set_interest(s);
	s->link.events->readable(&s->link);
}

/* ---- the connection ------------------------------------------------------ */

static void on_io(struct loop_io *io, uint32_t revents)
{
	struct link_stream *s = container_of(io, struct link_stream, io);

	if (revents & EPOLLOUT) {
		send_queue(s);
		if (!s->out_len) {
			set_blocked(s, false);
			s->link.events->writable(&s->link);
		}
	}
	if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (!fill(s)) {
		lost(s, closed);
		return;
	}
	if (moderate(&s->mod, loop_now(s->link.loop)))
		pause_reading(s);
	s->link.events->readable(&s->link);
}

static int serve(struct link_stream *s, int fd)
{
	/* Best effort: a super-segment or two on their way, whatever the default is. */
	int size = 1 << 20, r;

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r = loop_io_add(s->link.loop, &s->io, fd, EPOLLIN, on_io);
	if (r < 0)
		return r;
	s->fd = fd;
	s->link.is_up = true;
	return 0;
}

static void on_accept(struct loop_io *io, uint32_t revents)
{
	struct link_stream *s = container_of(io, struct link_stream, listen_io);
	int fd, r;

	(void)revents;
	if (s->fd >= 0 && s->knocks++ < ACCEPT_ROUNDS)
		return;
	s->knocks = 0;
	fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		/* Out of descriptors or memory: the connection waits, and so do we. */
		log_warn("link: accepting a guest: %s; trying again", strerror(errno));
		loop_io_set(io, 0);
		loop_timer_set(s->link.loop, &s->accept_retry,
			       loop_now(s->link.loop) + ACCEPT_RETRY_NS);
		return;
	}
	if (s->fd >= 0) {
		if (!s->refused)
			log_warn("link: a second guest while one is served: refused");
		s->refused = true;
		fd_close(fd);
		return;
	}
	r = serve(s, fd);
	if (r < 0) {
		log_warn("link: serving a guest: %s", strerror(-r));
		fd_close(fd);
		return;
	}
	s->link.events->up(&s->link);
}

static void on_accept_retry(struct loop_timer *t)
{
	struct link_stream *s = container_of(t, struct link_stream, accept_retry);

	loop_io_set(&s->listen_io, EPOLLIN);
}

static void stream_free(struct ns_link *l)
{
	struct link_stream *s = stream(l);

	loop_io_del(&s->io);
	loop_io_del(&s->listen_io);
	loop_timer_del(l->loop, &s->accept_retry);
	loop_timer_del(l->loop, &s->mod.timer);
	loop_task_cancel(l->loop, &s->more);
	fd_close(s->fd);
	fd_close(s->listen_fd);
	free(s);
}

static const struct link_driver link_stream = {
	.name = "stream",
	.read = stream_read,
	.write = stream_write,
	.flush = stream_flush,
	.free = stream_free,
};

int link_stream_new(struct loop *loop, int fd, const struct link_events *e, void *ctx,
		    struct ns_link **ret)
{
	struct link_stream *s;
	int type = 0, listens = 0, r;
	socklen_t n = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0)
		return -errno;
	n = sizeof(listens);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) < 0)
		return -errno;
	if (type != SOCK_STREAM)
		return -EPROTOTYPE;
	r = fd_set_nonblock(fd, true);
	if (r < 0)
		return r;
	/* Not zeroed: the buffers are large, and pages that are never used cost nothing. */
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	memset(s, 0, offsetof(struct link_stream, head));
	s->link = (struct ns_link){ .drv = &link_stream, .events = e, .ctx = ctx, .loop = loop };
	s->more.cb = on_more;
	s->accept_retry.cb = on_accept_retry;
	s->mod.timer.cb = on_pause_over;
	s->fd = s->listen_fd = -1;
	s->n_iov = 1;
	r = listens ? loop_io_add(loop, &s->listen_io, fd, EPOLLIN, on_accept) : serve(s, fd);
	if (r < 0) {
		free(s);
		return r;
	}
	if (listens)
		s->listen_fd = fd;
	*ret = &s->link;
	return 0;
}
