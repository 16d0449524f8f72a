/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving: one ring holds in-order bytes [0, rx.len) and behind them, at
 * their final place, the bytes that came early; `ooo` lists which those are.
 *
 * The promise: rcv_adv, the right edge of the window, never moves left, and
 * every byte before it has a place (unread + window <= the larger of rx_cap and
 * what was promised before; the account paid for it, tcp_ring.c). Bytes beyond
 * the edge are cut off, whoever sent them.
 *
 * rx_cap starts at TCP_RX_FLOOR and doubles each time twice its size has
 * passed through and left the ring empty, so a short connection never reserves a bulk window. Silly
 * windows: the edge moves only by a full segment or half the buffer (RFC 9293
 * 3.8.6.2.2). Overlapping bytes: the last copy of an undelivered byte wins;
 * relay and policy read the same ring, so both see that one.
 */
#include "netstack/tcp_int.h"

uint32_t tcp_rx_window(const struct tcp *t)
{
	return seq_gap(t->rcv_nxt, t->rcv_adv);
}

/* What the window field can say at most. */
static uint32_t field_max(const struct tcp *t)
{
	return 65535u << (t->wscale_on ? t->rcv_scale : 0);
}

static uint32_t tcp_rx_edge(const struct tcp *t)
{
	uint32_t cap = t->rx_cap, edge;

	if (tcp_mem_pressure(t))
		cap = MIN(cap, TCP_RX_PRESSURE);
	edge = t->rcv_nxt + MIN(cap > t->rx.len ? cap - t->rx.len : 0, field_max(t));
	if (seq_gap(t->rcv_adv, edge) < MIN(cap / 2, t->rcv_mss))
		return t->rcv_adv;
	return edge;
}

static bool receiving(const struct tcp *t)
{
	return t->state == TCP_S_ESTABLISHED || t->state == TCP_S_FIN_WAIT_1 ||
	       t->state == TCP_S_FIN_WAIT_2;
}

/* Worth a segment of its own: the window doubles, or half the buffer came free. */
bool tcp_rx_update_due(const struct tcp *t)
{
	uint32_t gain = seq_gap(t->rcv_adv, tcp_rx_edge(t));

	return receiving(t) && !t->fin_seen && gain &&
	       (gain >= tcp_rx_window(t) || gain >= t->rx_cap / 2);
}

/*
 * A scaled field cannot say every edge. Rounding down would look like a
 * shrinking window, so it is rounded up while the buffer has room for that.
 */
uint16_t tcp_rx_advertise(struct tcp *t, bool syn)
{
	unsigned scale = syn || !t->wscale_on ? 0 : t->rcv_scale;
	uint32_t edge = tcp_rx_edge(t);
	uint32_t wnd = seq_gap(t->rcv_nxt, edge);
	uint32_t up = ((wnd + (1u << scale) - 1) >> scale) << scale;
	uint32_t field;

	if (up + t->rx.len <= t->rx_cap)
		wnd = up;
	field = MIN(wnd >> scale, 65535u);
	t->rcv_adv = seq_max(t->rcv_adv, t->rcv_nxt + (field << scale));
	return (uint16_t)field;
}

/*
 * More than the buffer passed through twice, and the owner keeps up: a larger one is
 * of use. Where the owner is the slower side it would only fill, out of the cache.
 */
void tcp_rx_passed(struct tcp *t, uint32_t n)
{
	uint32_t max = pow2_floor(t->stack->rx_max);
	uint32_t next = t->rx_cap * 2;

	t->rx_total += n;
	if (next > max || t->rx_total < next || t->fin_seen || t->rx_cap >= field_max(t))
		return;
	if (tcp_mem_pressure(t) || !tcp_mem_fits(t, tcp_rx_growth_cost(t, next)))
		return;
	t->rx_cap = next;
	t->rx_total = 0;
	tcp_mem_update(t);
}

static void advance(struct tcp *t, uint32_t to)
{
	uint32_t n = to - t->rcv_nxt;

	t->rx.len += n;
	t->rcv_nxt = to;
	tcp_note_add(t, TCP_READABLE);
}

/*
 * In-order data: every second segment is acknowledged (RFC 9293 3.8.6.3). Within
 * a batch of the link that would be one ACK for each super-segment, each a whole
 * trip through the peer's stack: then a larger share waits for the end of the
 * batch. Never much of what the peer may send, so that it does not run dry.
 *
 * Where both take turns the answer carries it, if it is waited for; a peer that waits
 * for the ACK instead (Nagle's algorithm) is made to wait once, and then never again.
 */
static void ack_data(struct tcp *t)
{
	uint32_t most = 2 * t->rcv_mss;
	bool turns = t->turns == TCP_TURNS && !t->ack_soon;

	t->asked_at = t->now;

	if (t->stack->batching)
		most = MAX(most, MIN((uint32_t)TCP_ACK_STRETCH, t->rx_cap / 4));
	if (t->rcv_nxt - t->last_ack >= most)
		t->ack_now = true;
	else if (!t->t_ack)
		t->t_ack = t->now + (turns ? TCP_DELACK_TURN : TCP_DELACK);
}

void tcp_batch_done(struct tcp *t, uint64_t now)
{
	tcp_enter(t, now);
	if (t->t_ack && t->rcv_nxt - t->last_ack >= 2 * t->rcv_mss)
		t->ack_now = true;
	tcp_leave(t);
}

/* Bytes of a segment's payload that go in: sequence number, where they lie in it, how many. */
struct span {
	uint32_t seq, skip, len;
};

static bool store(struct tcp *t, const struct tcp_seg *s, const struct span *w)
{
	uint32_t seq = w->seq, len = w->len;
	uint32_t pos = t->rx.len + (seq - t->rcv_nxt);
	struct iovec iov[TCP_SEG_PIECES];
	unsigned n;

	if (!tcp_ring_reserve(&t->rx, (size_t)pos + len))
		return false;
	if (seq != t->rcv_nxt && !tcp_ranges_add(&t->ooo, TCP_OOO_MAX, seq, seq + len))
		return false;
	n = tcp_seg_pieces(s, w->skip, len, iov);
	for (unsigned i = 0; i < n; pos += (uint32_t)iov[i++].iov_len)
		tcp_ring_write(&t->rx, pos, iov[i].iov_base, iov[i].iov_len);
	return true;
}

/* A large segment whose bytes are the next ones: past the ring, as far as they are taken. */
static void try_direct(struct tcp *t, const struct tcp_seg *s, struct span *w)
{
	struct iovec iov[TCP_SEG_PIECES];
	uint32_t took;

	if (!t->stack->ops->direct || w->len < TCP_DIRECT_MIN || t->rx.len || t->ooo ||
	    w->seq != t->rcv_nxt)
		return;
	took = (uint32_t)t->stack->ops->direct(t, iov, tcp_seg_pieces(s, w->skip, w->len, iov));
	assert(took <= w->len);
	if (!took)
		return;
	t->rcv_nxt += took;
	tcp_rx_passed(t, took);
	tcp_note_add(t, TCP_READABLE); /* for the acknowledgement behind the batch */
	w->seq += took;
	w->skip += took;
	w->len -= took;
}

/* Bytes [seq, seq+len) lie within [rcv_nxt, rcv_adv). */
static void take_data(struct tcp *t, const struct tcp_seg *s, struct span *w)
{
	uint32_t seq, len;
	bool gap = t->ooo || w->seq != t->rcv_nxt;

	try_direct(t, s, w);
	seq = w->seq;
	len = w->len;
	if (!len) {
		ack_data(t);
		return;
	}

	if (gap)
		t->ack_now = true;
	if (tcp_ranges_bytes(t->ooo, seq, seq + len) == len) {
		t->dsack_lo = seq; /* RFC 2883 4.2: held already */
		t->dsack_hi = seq + len;
	}
	if (!store(t, s, w))
		return;
	if (seq != t->rcv_nxt)
		return;
	advance(t, seq + len);
	tcp_ranges_trim(&t->ooo, t->rcv_nxt);
	if (t->ooo && t->ooo->r[0].lo == t->rcv_nxt) {
		advance(t, t->ooo->r[0].hi);
		tcp_ranges_trim(&t->ooo, t->rcv_nxt);
	}
	ack_data(t);
}

static void take_fin(struct tcp *t)
{
	t->rcv_nxt++;
	t->rcv_adv = seq_max(t->rcv_adv, t->rcv_nxt);
	t->eof = true;
	t->ack_now = true;
	tcp_note_add(t, TCP_READABLE);
	switch (t->state) {
	case TCP_S_ESTABLISHED:
		t->state = TCP_S_CLOSE_WAIT;
		break;
	case TCP_S_FIN_WAIT_1:
		t->state = TCP_S_CLOSING;
		break;
	case TCP_S_FIN_WAIT_2:
		tcp_time_wait(t);
		break;
	default:
		break;
	}
}

/* A FIN in front of bytes we hold contradicts them; one beyond the edge comes again. */
static void note_fin(struct tcp *t, uint32_t fin)
{
	uint32_t high = t->ooo && t->ooo->n ? t->ooo->r[t->ooo->n - 1].hi : t->rcv_nxt;

	if (t->fin_seen || seq_lt(fin, high) || seq_lt(t->rcv_adv, fin))
		return;
	t->fin_seen = true;
	t->rx_fin = fin;
}

void tcp_rx_segment(struct tcp *t, const struct tcp_seg *s)
{
	uint32_t seq = s->seq + !!(s->flags & TCP_SYN);
	uint32_t len = (uint32_t)s->len, end = seq + len;
	uint32_t edge = t->fin_seen ? seq_min(t->rcv_adv, t->rx_fin) : t->rcv_adv;
	uint32_t skip = 0;

	if (!receiving(t)) {
		if (len || (s->flags & TCP_FIN))
			t->ack_now = true;
		return;
	}
	if (len)
		t->rcv_mss = MAX(t->rcv_mss, MIN(len, (uint32_t)tcp_link_mss(t)));
	if ((s->flags & TCP_FIN) && !seq_lt(end, t->rcv_nxt))
		note_fin(t, end);
	if (seq_lt(seq, t->rcv_nxt) && len) {
		t->dsack_lo = seq;
		t->dsack_hi = seq_min(end, t->rcv_nxt);
		t->ack_now = true;
		skip = MIN(len, t->rcv_nxt - seq);
		seq = t->rcv_nxt;
	}
	if (seq_lt(edge, end)) {
		end = edge;
		t->ack_now = true;
	}
	if (seq_lt(seq, end)) {
		if (t->rx_closed) { /* RFC 9293 3.10.4: nobody will ever read this */
			tcp_kill(t, true, 0);
			return;
		}
		take_data(t, s, &(struct span){ seq, skip, end - seq });
	}
	if (s->flags & TCP_FIN)
		t->ack_now = true;
	if (t->fin_seen && !t->eof && t->rcv_nxt == t->rx_fin)
		take_fin(t);
}
