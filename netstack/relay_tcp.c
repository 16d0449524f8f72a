/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP flows: the relay between the two queues of the engine and a descriptor.
 *
 *    guest ─► engine rx ─► sendmsg(fd)     "up":   window closes when fd is full
 *    guest ◄─ engine tx ◄─ recvmsg(fd)     "down": fd is not read when tx is full
 *
 * The directions are independent. Each ends once: up when the guest's FIN and
 * all before it have been written (shutdown(SHUT_WR)), down when the
 * descriptor's end has been read (FIN behind what is queued). The flow ends
 * when both have and the guest has acknowledged every byte; the engine may
 * live on in TIME-WAIT, unseen by the owner.
 *
 * Nothing is dropped: what the descriptor does not take stays in rx, unread.
 * A held flow simply does not consume. A descriptor that fails resets the
 * guest, but only after the guest has what had been read before the failure.
 */
#include "netstack/netstack_internal.h"

#include <sys/epoll.h>
#include <unistd.h>

/* ---- endings ----------------------------------------------------------- */

/* The descriptor failed. What was read from it before still belongs to the guest. */
static void remote_failed(struct netstack_flow *f, int error)
{
	if (f->resetting)
		return;
	f->c.error = error;
	f->resetting = true;
	loop_io_del(&f->io);
	loop_timer_set(f->ns->loop, &f->aux, ns_now(f->ns) + LIMIT_RESET_LINGER_NS);
}

static bool all_acked(const struct netstack_flow *f)
{
	return tcp_acked_bytes(f->tcp) >= f->committed;
}

/* True when the flow has ended. */
static bool check_end(struct netstack_flow *f)
{
	if (f->resetting) {
		if (!all_acked(f) && loop_timer_armed(&f->aux) && !f->tcp_closed)
			return false;
		if (!f->tcp_closed)
			tcp_abort(f->tcp, ns_now(f->ns));
		flow_finish(f, NETSTACK_END_REMOTE_RESET);
		return true;
	}
	if (f->up_done && f->down_done && all_acked(f)) {
		flow_finish(f, NETSTACK_END_CLOSED);
		return true;
	}
	if (!f->tcp_closed)
		return false;
	/* The engine is through and we are not: what comes from the guest has no reader. */
	if (f->down_done && !f->up_done && tcp_rx_eof(f->tcp))
		return false;
	flow_finish(f, f->down_done ? NETSTACK_END_REMOTE_RESET : NETSTACK_END_GUEST_RESET);
	return true;
}

/* ---- up: guest to descriptor ------------------------------------------ */

static size_t rx_iov(const struct netstack_flow *f, struct iovec iov[2], int *ret_n)
{
	const uint8_t *p[2] = { NULL, NULL };
	size_t len[2] = { 0, 0 }, total = tcp_rx_peek(f->tcp, p, len);

	*ret_n = 0;
	for (unsigned i = 0; i < 2; i++)
		if (len[i])
			iov[(*ret_n)++] = (struct iovec){ (void *)(uintptr_t)p[i], len[i] };
	return total;
}

/* Cut to `most` bytes; returns how many pieces are left. */
static size_t iov_clip(struct iovec *iov, size_t n, size_t most)
{
	for (size_t i = 0; i < n; i++) {
		iov[i].iov_len = MIN(iov[i].iov_len, most);
		most -= iov[i].iov_len;
		if (most == 0)
			return i + 1;
	}
	return n;
}

/* Bytes the descriptor took; 0: none now, or it is broken. */
static size_t send_up(struct netstack_flow *f, const struct iovec *iov, unsigned n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n };
	ssize_t r;

	do
		r = sendmsg(f->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno != EAGAIN) {
		/* There may be an answer to read from before it broke. */
		f->up_broken = true;
		f->c.error = errno;
	}
	if (r <= 0)
		return 0;
	f->c.bytes_up += (size_t)r;
	f->ack_owed = false; /* they carry it */
	rate_spend(f, RATE_UP, (size_t)r, 0);
	return (size_t)r;
}

static bool may_write(const struct netstack_flow *f)
{
	return f->fd >= 0 && !f->hold && !f->up_done && !f->up_broken && !f->resetting;
}

size_t relay_tcp_direct(struct netstack_flow *f, const struct iovec *iov, unsigned n)
{
	size_t total = 0;

	if (!may_write(f) || f->want_out)
		return 0;
	for (unsigned i = 0; i < n; i++)
		total += iov[i].iov_len;
	/* With less than all of it in tokens the receive queue keeps the rest. */
	return rate_allow(f, RATE_UP, total) == total ? send_up(f, iov, n) : 0;
}

/* Writes once; false when the descriptor takes no more, failed, or rx is empty. */
static bool write_once(struct netstack_flow *f)
{
	struct iovec iov[2];
	int n;
	size_t total = rx_iov(f, iov, &n), r;

	if (total)
		total = rate_allow(f, RATE_UP, total);
	if (!total)
		return false;
	r = send_up(f, iov, (unsigned)iov_clip(iov, (size_t)n, total));
	if (f->up_broken)
		return false;
	if (r)
		tcp_rx_consume(f->tcp, r, ns_now(f->ns));
	else
		f->want_out = true; /* EAGAIN, and only that, makes the edge come */
	return r != 0;
}

static void relay_up(struct netstack_flow *f)
{
	struct iovec iov[2];
	int n;

	if (!may_write(f) || f->want_out)
		return;
	for (unsigned i = 0; i < LIMIT_RELAY_WRITES && write_once(f); i++)
		;
	if (f->up_broken || f->want_out)
		return;
	if (rx_iov(f, iov, &n)) {
		if (!rate_waiting(f, RATE_UP))
			flow_later(f);
		return;
	}
	if (!tcp_rx_eof(f->tcp))
		return;
	(void)shutdown(f->fd, SHUT_WR);
	f->up_done = true;
}

/* ---- down: descriptor to guest ---------------------------------------- */

static bool may_read(const struct netstack_flow *f)
{
	return f->fd >= 0 && f->established && !f->down_done && !f->resetting && !f->tcp_closed;
}

static void down_end(struct netstack_flow *f)
{
	const struct netstack *ns = f->ns;

	if (ns->ops->flow_cut && ns->ops->flow_cut(ns->ctx, f)) {
		f->in_ready = false;
		remote_failed(f, ECONNRESET);
		return;
	}
	f->down_done = true;
	f->read_any = true;
	tcp_shutdown(f->tcp, ns_now(f->ns));
}

/* As much of `most` as the engine's ring takes: bytes, 0 at the end, -errno; -EDQUOT: waits its turn. */
static ssize_t read_ring(struct netstack_flow *f, size_t most)
{
	uint8_t *p[2] = { NULL, NULL };
	size_t len[2] = { 0, 0 }, room = tcp_tx_space(f->tcp, p, len);
	struct iovec iov[2];
	struct msghdr m = { .msg_iov = iov };
	size_t n = 0, asked;
	ssize_t r;

	if (!room)
		return -EBUSY;
	for (unsigned i = 0; i < 2; i++)
		if (len[i])
			iov[n++] = (struct iovec){ p[i], len[i] };
	room = rate_allow(f, RATE_DOWN, MIN(room, most));
	if (!room)
		return -EDQUOT;
	n = iov_clip(iov, n, room);
	m.msg_iovlen = n;
	asked = iov[0].iov_len + (n == 2 ? iov[1].iov_len : 0);
	do
		r = recvmsg(f->fd, &m, MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	if (r > 0) {
		f->committed += (size_t)r;
		rate_spend(f, RATE_DOWN, (size_t)r, 0);
		tcp_tx_commit(f->tcp, (size_t)r, ns_now(f->ns));
		if ((size_t)r < asked)
			f->in_ready = f->drain;
		if (f->peek)
			relay_source_took(f, (size_t)r, (size_t)r < asked);
		f->no_room = f->peek ? tcp_tx_wait(f->tcp) : tcp_tx_room(f->tcp) == 0;
	}
	return r;
}

/* From a socket that can be peeked. */
static ssize_t read_source(struct netstack_flow *f)
{
	ssize_t r = -EBUSY;

	if (tcp_tx_wait(f->tcp))
		return -EBUSY;
	if (relay_source_small(f))
		r = read_ring(f, LIMIT_SMALL_READ);
	return r == -EBUSY ? relay_source_peek(f) : r;
}

/* One read, either way; false: nothing there, no room, or the end. */
static bool read_once(struct netstack_flow *f)
{
	ssize_t r;

	if (!f->read_any)
		f->peek = relay_source_begin(f);
	r = f->peek ? read_source(f) : read_ring(f, LIMIT_RELAY_READ);
	if (r > 0) {
		f->read_any = true;
		return f->in_ready && !f->no_room;
	}
	if (r == 0) {
		down_end(f);
	} else if (r == -EBUSY) {
		f->no_room = true;
	} else if (r != -EDQUOT) {
		f->in_ready = false;
		if (r != -EAGAIN)
			remote_failed(f, (int)-r);
	}
	return false;
}

/* The descriptor speaks first, and nobody has decided yet. */
static bool server_speaks_first(const struct netstack_flow *f)
{
	const uint8_t *p[2];
	size_t len[2];

	return f->hold && !f->server_first && tcp_rx_peek(f->tcp, p, len) == 0 && !tcp_rx_eof(f->tcp);
}

static void read_some(struct netstack_flow *f)
{
	/* The end is known to be there: it goes with the bytes in front of it. */
	bool last = f->drain && !f->peek;
	unsigned i = 0;

	if (last)
		tcp_hold_output(f->tcp, ns_now(f->ns));
	while (i++ < LIMIT_RELAY_READS && read_once(f))
		;
	if (last)
		tcp_release_output(f->tcp);
}

/* Edges come once: who stops before the descriptor is empty must come back by himself. */
static void relay_down(struct netstack_flow *f)
{

	if (!f->in_ready || f->no_room || !may_read(f) || rate_waiting(f, RATE_DOWN))
		return;
	if (server_speaks_first(f)) {
		f->server_first = true;
		f->ns->ops->flow_server_first(f->ns->ctx, f);
		if (!flow_live(f) || !may_read(f))
			return;
	}
	read_some(f);
	if (f->in_ready && !f->no_room && may_read(f) && !rate_waiting(f, RATE_DOWN))
		flow_later(f);
}

/* Up is broken: read what is left, then reset. */
static void drain_broken(struct netstack_flow *f)
{
	f->in_ready = f->drain = true;
	while (may_read(f) && !f->no_room && read_once(f))
		;
	if (f->resetting || (may_read(f) && (f->no_room || rate_waiting(f, RATE_DOWN))))
		return;
	remote_failed(f, f->c.error);
}

/* ---- holding ---------------------------------------------------------- */

static void report_held(struct netstack_flow *f)
{
	const uint8_t *p[2] = { NULL, NULL };
	size_t len[2] = { 0, 0 }, total = tcp_rx_peek(f->tcp, p, len);
	bool eof = tcp_rx_eof(f->tcp) && total <= NETSTACK_HOLD_MAX;
	struct netstack *ns = f->ns;

	total = MIN(total, (size_t)NETSTACK_HOLD_MAX);
	if (total == f->reported && eof == f->reported_eof)
		return;
	f->reported = total;
	f->reported_eof = eof;
	if (len[0] < total) {
		memcpy(ns->scratch, p[0], len[0]);
		memcpy(ns->scratch + len[0], p[1], total - len[0]);
		p[0] = ns->scratch;
	}
	ns->ops->flow_bytes(ns->ctx, f, total ? p[0] : ns->scratch, total, eof);
}

/* ---- the relay's turn ------------------------------------------------- */

static void on_io(struct loop_io *io, uint32_t revents);

/*
 * Edge-triggered, and registered once: bytes may stay in the socket (relay_source.c)
 * without waking us for ever, and no call is made to change what is waited for.
 * No edge is lost: every arrival, end and error after an event makes a new one,
 * in_ready stays true until a read has found nothing, and want_out becomes true
 * only by EAGAIN. EPOLLOUT is asked for by the first of those, which checks anew.
 */
static void set_interest(struct netstack_flow *f)
{
	uint32_t ev = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET | (f->want_out ? EPOLLOUT : 0);
	int r;

	if (f->fd < 0 || f->resetting)
		return;
	if (f->io.loop) {
		if (f->want_out)
			loop_io_set(&f->io, ev);
		return;
	}
	r = loop_io_add(f->ns->loop, &f->io, f->fd, ev, on_io);
	if (r < 0)
		remote_failed(f, -r);
}

/* The descriptor is gone, and reading will not show it: there was its end already. */
static void check_error(struct netstack_flow *f)
{
	int err = 0;
	socklen_t n = sizeof(err);

	if (!f->hup || !f->down_done || f->resetting || f->fd < 0)
		return;
	f->hup = false;
	if (getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &n) == 0 && err)
		remote_failed(f, err);
	else if (!f->up_done && !f->hold)
		tcp_close(f->tcp, ns_now(f->ns)); /* nobody is there who would read */
}

void relay_tcp_run(struct netstack_flow *f)
{
	uint32_t notes = f->notes;

	f->notes = 0;
	if (notes & 1u << TCP_CLOSED)
		f->tcp_closed = true;
	if (f->state == FLOW_ZOMBIE) {
		if (notes & (1u << TCP_CLOSED | 1u << TCP_RESET_BY_PEER | 1u << TCP_TIMED_OUT))
			flow_bury(f);
		return;
	}
	if (!flow_live(f))
		return;
	if (notes & 1u << TCP_ESTABLISHED)
		f->established = true;
	if (f->established && f->fd >= 0)
		limit_half_open_end(f);
	if (notes & 1u << TCP_WRITABLE)
		f->no_room = false;
	if (notes & (1u << TCP_RESET_BY_PEER | 1u << TCP_TIMED_OUT)) {
		f->tcp_closed = true;
		relay_up(f); /* what came before the reset is the remote's */
		flow_finish(f, notes & 1u << TCP_RESET_BY_PEER ? NETSTACK_END_GUEST_RESET
							       : NETSTACK_END_TIMEOUT);
		return;
	}
	if (f->accepted && f->hold && !f->resetting)
		report_held(f);
	if (!flow_live(f))
		return;
	relay_down(f);
	if (!flow_live(f))
		return;
	relay_up(f);
	/* Behind the writing, so that the ACK carries the window it opened. */
	if (notes & 1u << TCP_READABLE)
		tcp_batch_done(f->tcp, ns_now(f->ns));
	if (f->up_broken && !f->resetting)
		drain_broken(f);
	check_error(f);
	if (f->lost && !f->resetting) {
		remote_failed(f, EIO);
		loop_timer_del(f->ns->loop, &f->aux);
	}
	relay_source_consume(f);
	if (check_end(f))
		return;
	set_interest(f);
	if (f->resetting)
		(void)check_end(f);
}

static void on_io(struct loop_io *io, uint32_t revents)
{
	struct netstack_flow *f = container_of(io, struct netstack_flow, io);
	struct netstack *ns = f->ns;

	ns_enter(ns);
	if (revents & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
		f->in_ready = true;
	/* Behind those a read that gives less than was asked for says nothing. */
	if (revents & (EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
		f->drain = true;
	if (revents & (EPOLLHUP | EPOLLERR))
		f->hup = true;
	if (revents & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		f->want_out = false;
	relay_tcp_run(f);
	ns_leave(ns);
}

/* ---- opening ----------------------------------------------------------- */

void relay_tcp_accept(struct netstack_flow *f)
{
	if (f->accepted)
		return;
	f->accepted = true;
	f->state = FLOW_OPEN;
	flow_drop_pending(f);
	tcp_accept(f->tcp, ns_now(f->ns));
}

void relay_tcp_attach(struct netstack_flow *f, int fd, bool hold)
{
	f->fd = fd;
	f->hold = hold;
	f->server_first = f->read_any = f->hup = f->want_out = f->in_ready = f->drain = false;
	/* Held bytes that were reported before are not news to whoever attaches, unless it
	 * is to look at them with what it attaches in place. */
	if (hold)
		f->reported = 0;
	f->reported_eof &= !hold;
	relay_tcp_accept(f);
	flow_work(f);
}
