/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's life and the calls of its owner.
 *
 * Every entry point is a bracket: tcp_enter() ... tcp_leave(). The owner's
 * callbacks may call back in; only the outermost tcp_leave() acts. It tells
 * the pending notes, then sends, and again while the notes' receiver caused
 * more: so a relay that reads and writes inside TCP_READABLE gets its data,
 * window and ACK into one segment. TCP_CLOSED comes last and once, and not
 * before everything the peer sent in order has been read, unless the
 * connection was reset or ran out of tries.
 *
 * Limits: tcp_int.h. The struct itself is all an idle connection costs.
 */
#include "netstack/tcp_int.h"

_Static_assert(sizeof(struct tcp) <= 512, "an idle connection costs at most 512 bytes");

/* ---- bracket -------------------------------------------------------------- */

void tcp_enter(struct tcp *t, uint64_t now)
{
	assert(t->depth < 16);
	t->depth++;
	t->now = now;
}

void tcp_note_add(struct tcp *t, enum tcp_note n)
{
	t->notes |= (uint8_t)(1u << n);
}

static void tell_notes(struct tcp *t)
{
	uint8_t notes = t->notes;

	t->notes = 0;
	for (int n = TCP_ESTABLISHED; n <= TCP_CLOSED; n++)
		if (notes & 1u << n)
			t->stack->ops->note(t, (enum tcp_note)n);
}

static void check_closed(struct tcp *t)
{
	if (t->state != TCP_S_CLOSED || t->closed_told || t->rst_pending)
		return;
	if (t->rx.len && !t->reset && !t->rx_closed)
		return;
	t->closed_told = true;
	tcp_note_add(t, TCP_CLOSED);
}

void tcp_leave(struct tcp *t)
{
	if (t->depth == 1) {
		do {
			tell_notes(t);
			tcp_output(t);
			check_closed(t);
		} while (t->notes);
		if (tcp_mem_pressure(t))
			tcp_rings_release(t);
		tcp_rings_release_ended(t);
		tcp_mem_update(t);
		tcp_timers_arm(t);
	}
	t->depth--;
}

/* ---- birth and death ------------------------------------------------------ */

size_t tcp_size(void)
{
	return sizeof(struct tcp);
}

int tcp_new(struct tcp_stack *s, const struct endpoint *local, const struct endpoint *peer,
	    void *owner, struct tcp **ret)
{
	struct tcp *t = s->pool ? pool_get(s->pool) : calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->stack = s;
	t->owner = owner;
	t->local = *local;
	t->peer = *peer;
	assert(tcp_link_mss(t) >= TCP_MSS_MIN);
	t->state = TCP_S_NEW;
	t->rx_cap = MAX(MIN((uint32_t)TCP_RX_FLOOR, pow2_floor(s->rx_max)), 2048u);
	t->peer_mss = local->addr.family == 4 ? TCP_MSS_DEFAULT4 : TCP_MSS_DEFAULT6;
	t->rcv_mss = MIN(TCP_MSS_DEFAULT4, tcp_link_mss(t));
	while (t->rcv_scale < TCP_WSCALE_MAX && (size_t)65535 << t->rcv_scale < s->rx_max)
		t->rcv_scale++;
	tcp_mss_update(t);
	tcp_cc_init(t);
	*ret = t;
	return 0;
}

void tcp_free(struct tcp *t)
{
	if (!t)
		return;
	if (t->armed)
		t->stack->ops->set_timer(t, 0);
	t->stack->mem_used -= t->charged;
	t->stack->mem_alloc -= t->allocated;
	tcp_ring_free(&t->rx);
	tcp_ring_free(&t->tx);
	tcp_ranges_drop(&t->ooo);
	tcp_ranges_drop(&t->score);
	if (t->stack->pool)
		pool_put(t->stack->pool, t);
	else
		free(t);
}

void *tcp_owner(const struct tcp *t)
{
	return t->owner;
}

static void stop(struct tcp *t)
{
	t->state = TCP_S_CLOSED;
	t->t_keep = t->t_rtx = t->t_probe = t->t_ack = t->t_close = t->t_idle = 0;
	t->ack_now = t->syn_pending = t->probe_pending = false;
	t->tx.len = t->tx_ext = 0;
	tcp_ring_free(&t->tx);
	tcp_ranges_drop(&t->ooo);
	tcp_ranges_drop(&t->score);
}

void tcp_kill(struct tcp *t, bool rst, enum tcp_note why)
{
	stop(t);
	t->reset = true;
	t->rst_pending = rst;
	if (why)
		tcp_note_add(t, why);
}

void tcp_finish(struct tcp *t)
{
	stop(t);
}

void tcp_time_wait(struct tcp *t)
{
	t->state = TCP_S_TIME_WAIT;
	t->t_close = t->now + TCP_TIME_WAIT;
}

void tcp_fin_wait_2(struct tcp *t)
{
	t->state = TCP_S_FIN_WAIT_2;
	if (t->rx_closed)
		t->t_close = t->now + TCP_FIN_WAIT_2;
}

/* ---- opening ---------------------------------------------------------------- */

void tcp_mss_update(struct tcp *t)
{
	t->mss = MIN(MAX(t->peer_mss, TCP_MSS_MIN), tcp_link_mss(t));
	if (t->path_mss)
		t->mss = MIN(t->mss, t->path_mss);
	t->mss -= t->ts_on ? 12 : 0;
}

/* RFC 6528: a clock of 4 us ticks and a keyed hash over the four-tuple. */
static void choose_isn(struct tcp *t)
{
	uint8_t b[36] = { 0 };
	uint64_t h;

	memcpy(b, t->local.addr.b, 16);
	memcpy(b + 16, t->peer.addr.b, 16);
	put_be16(b + 32, t->local.port);
	put_be16(b + 34, t->peer.port);
	h = hash_bytes(&t->stack->isn_key, b, sizeof(b));
	t->iss = (uint32_t)h + (uint32_t)(t->now / 4000);
	t->ts_offset = (uint32_t)(h >> 32);
	t->snd_una = t->snd_nxt = t->recover = t->rtx_nxt = t->iss;
	t->redo_nxt = t->redo_end = t->mark_seq = t->iss;
	t->tx_seq = t->iss + 1;
}

/* What the peer's SYN says. On an active open it answers what we offered. */
void tcp_syn_options(struct tcp *t, const struct tcp_seg *s)
{
	bool held = t->state == TCP_S_HELD;
	uint32_t wnd = held ? 0 : MIN(t->rx_cap, 65535u);

	t->irs = s->seq;
	t->rcv_nxt = t->last_ack = s->seq + 1;
	t->rcv_adv = t->rcv_nxt + wnd; /* our SYN has promised this much */
	t->sack_on = s->sack_ok;
	t->ts_on = s->has_ts;
	t->ts_recent = s->ts_val;
	t->ts_recent_at = t->now;
	t->ts_recent_set = s->has_ts;
	t->wscale_on = s->has_wscale;
	t->snd_scale = s->has_wscale ? s->wscale : 0;
	if (s->has_mss)
		t->peer_mss = s->mss;
	tcp_mss_update(t);
	t->snd_wnd = t->max_wnd = s->wnd;
	t->snd_wl1 = s->seq;
	t->snd_wl2 = t->snd_una;
}

void tcp_syn_received(struct tcp *t, const struct tcp_seg *syn, uint64_t now)
{
	assert(t->state == TCP_S_NEW);
	tcp_enter(t, now);
	t->state = TCP_S_HELD;
	choose_isn(t);
	tcp_syn_options(t, syn);
	tcp_leave(t);
}

static void start(struct tcp *t, enum tcp_state state)
{
	t->state = (uint8_t)state;
	t->snd_nxt = t->iss + 1;
	t->syn_pending = true;
}

void tcp_accept(struct tcp *t, uint64_t now)
{
	tcp_enter(t, now);
	if (t->state == TCP_S_HELD)
		start(t, TCP_S_SYN_RCVD);
	tcp_leave(t);
}

void tcp_connect(struct tcp *t, uint64_t now)
{
	assert(t->state == TCP_S_NEW);
	tcp_enter(t, now);
	choose_isn(t);
	start(t, TCP_S_SYN_SENT);
	tcp_leave(t);
}

void tcp_link_ready(struct tcp *t, uint64_t now)
{
	tcp_enter(t, now);
	t->link_full = false;
	tcp_leave(t);
}

/* ---- receiving -------------------------------------------------------------- */

size_t tcp_rx_peek(const struct tcp *t, const uint8_t *ret_p[2], size_t ret_len[2])
{
	return tcp_ring_pieces(&t->rx, 0, t->rx.len, ret_p, ret_len);
}

void tcp_rx_consume(struct tcp *t, size_t n, uint64_t now)
{
	assert(n <= t->rx.len);
	tcp_enter(t, now);
	tcp_ring_consume(&t->rx, (uint32_t)n);
	if (t->rx.len == 0 && !t->ooo)
		t->rx.off = 0; /* the same cache lines again, and one piece */
	if (t->rx.len == 0)
		tcp_rx_passed(t, (uint32_t)n);
	t->active_at = now;
	tcp_leave(t);
}

bool tcp_rx_eof(const struct tcp *t)
{
	return t->eof;
}

/* ---- sending ---------------------------------------------------------------- */

static bool tx_open(const struct tcp *t)
{
	return t->state != TCP_S_CLOSED && !t->fin_queued;
}

/* The ring's size if it grew one step now. */
static uint32_t tx_next_size(const struct tcp *t)
{
	uint32_t cap = MAX(pow2_floor(t->stack->tx_max), (uint32_t)TCP_RING_FIRST);
	uint32_t next = t->tx.size ? t->tx.size * 2 : MIN((uint32_t)TCP_TX_FIRST, cap);

	if (next > cap || (t->external && next > TCP_TX_FIRST))
		return t->tx.size;
	if (next > TCP_TX_FIRST && tcp_mem_pressure(t))
		return t->tx.size;
	if (next > TCP_TX_FLOOR && !tcp_mem_fits(t, next - t->tx.size))
		return t->tx.size;
	return next;
}

size_t tcp_tx_room(const struct tcp *t)
{
	if (t->tx_ext)
		return 0;
	return tx_open(t) ? tx_next_size(t) - t->tx.len : 0;
}

size_t tcp_tx_space(struct tcp *t, uint8_t *ret_p[2], size_t ret_len[2])
{
	struct tcp_ring *r = &t->tx;
	uint32_t at, room, first;

	ret_p[0] = ret_p[1] = NULL;
	ret_len[0] = ret_len[1] = 0;
	if (!tx_open(t) || t->tx_ext)
		return 0;
	if (r->size - r->len <= r->size / 2 && tcp_ring_reserve(r, tx_next_size(t)))
		tcp_mem_update(t);
	room = r->size - r->len;
	if (room == 0) {
		t->tx_waiting = true;
		if (r->len == 0) { /* out of memory, and no ACK will call us back */
			t->t_idle = t->now + TCP_MEM_RETRY;
			tcp_timers_arm(t);
		}
		return 0;
	}
	at = (r->off + r->len) & (r->size - 1);
	first = MIN(room, r->size - at);
	ret_p[0] = r->p + at;
	ret_len[0] = first;
	if (first < room) {
		ret_p[1] = r->p;
		ret_len[1] = room - first;
	}
	return room;
}

void tcp_tx_commit(struct tcp *t, size_t n, uint64_t now)
{
	if (!tx_open(t))
		return;
	assert(!t->tx_ext && n <= t->tx.size - t->tx.len);
	tcp_enter(t, now);
	t->tx.len += (uint32_t)n;
	t->active_at = now;
	tcp_leave(t);
	if (!t->external && tcp_tx_room(t) == 0)
		t->tx_waiting = true;
}

void tcp_tx_external(struct tcp *t)
{
	t->external = true;
}

bool tcp_tx_wait(struct tcp *t)
{
	t->tx_waiting = tcp_tx_unsent(t) != 0;
	return t->tx_waiting;
}

size_t tcp_tx_unsent(const struct tcp *t)
{
	return seq_gap(t->snd_nxt, tcp_data_end(t));
}

void tcp_tx_supply(struct tcp *t, size_t n, uint64_t now)
{
	if (!tx_open(t))
		return;
	assert(t->external && n < (1u << 30) && t->tx_ext < (1u << 30));
	tcp_enter(t, now);
	t->tx_ext += (uint32_t)n;
	t->active_at = now;
	tcp_leave(t);
}

void tcp_hold_output(struct tcp *t, uint64_t now)
{
	tcp_enter(t, now);
}

void tcp_release_output(struct tcp *t)
{
	tcp_leave(t);
}

/* ---- closing ------------------------------------------------------------------ */

void tcp_shutdown(struct tcp *t, uint64_t now)
{
	tcp_enter(t, now);
	/*
	 * RFC 9293 3.10.4 would delete a connection in SYN-SENT; what was
	 * queued before must arrive, so it is treated like SYN-RECEIVED.
	 */
	if (t->state == TCP_S_NEW)
		tcp_kill(t, false, 0);
	else if (tx_open(t))
		t->fin_queued = true;
	tcp_leave(t);
}

void tcp_close(struct tcp *t, uint64_t now)
{
	tcp_enter(t, now);
	if (t->rx.len || t->ooo) {
		tcp_kill(t, true, 0);
	} else if (t->state != TCP_S_CLOSED) {
		t->rx_closed = true;
		if (t->state == TCP_S_FIN_WAIT_2)
			tcp_fin_wait_2(t);
		tcp_shutdown(t, now);
	}
	tcp_leave(t);
}

/* A SYN of ours that nobody answered is withdrawn in silence. */
void tcp_abort(struct tcp *t, uint64_t now)
{
	bool silent =
		t->state == TCP_S_NEW || t->state == TCP_S_SYN_SENT || t->state == TCP_S_TIME_WAIT;

	tcp_enter(t, now);
	if (t->state != TCP_S_CLOSED)
		tcp_kill(t, !silent, 0);
	else
		t->reset = true; /* do not wait for the unread bytes */
	tcp_leave(t);
}

bool tcp_rst_waits(const struct tcp *t)
{
	return t->state == TCP_S_CLOSED && t->rst_pending;
}

void tcp_too_big(struct tcp *t, uint32_t seq, uint32_t mtu, uint64_t now)
{
	bool four = t->local.addr.family == 4;
	uint32_t mss = MAX(mtu, four ? TCP_PATH_MTU_MIN4 : TCP_PATH_MTU_MIN6) - (four ? 40 : 60);
	uint32_t cwnd = t->cwnd, ssthresh = t->ssthresh, before = t->mss;
	bool lossy = t->lossy;

	if (!tcp_synchronized(t) || seq_lt(seq, t->snd_una) || !seq_lt(seq, t->snd_nxt))
		return;
	if (mss >= (t->path_mss ? t->path_mss : tcp_link_mss(t)))
		return;
	tcp_enter(t, now);
	t->path_mss = (uint16_t)mss;
	tcp_mss_update(t);
	if (t->mss < before) { /* it did not arrive, but not for want of room on the way */
		tcp_loss(t);
		t->cwnd = cwnd;
		t->ssthresh = ssthresh;
		t->lossy = lossy;
		t->eifel = false;
		t->rtt_timing = false;
	}
	tcp_leave(t);
}

bool tcp_peer_keeps_alive(const struct tcp *t)
{
	return t->peer_keeps;
}

uint64_t tcp_acked_bytes(const struct tcp *t)
{
	return t->acked;
}

/* ---- for records and tests ----------------------------------------------------- */

const char *tcp_state_name(const struct tcp *t)
{
	static const char *const names[] = {
		[TCP_S_CLOSED] = "CLOSED",	   [TCP_S_NEW] = "NEW",
		[TCP_S_HELD] = "LISTEN",	   [TCP_S_SYN_SENT] = "SYN-SENT",
		[TCP_S_SYN_RCVD] = "SYN-RECEIVED", [TCP_S_ESTABLISHED] = "ESTABLISHED",
		[TCP_S_FIN_WAIT_1] = "FIN-WAIT-1", [TCP_S_FIN_WAIT_2] = "FIN-WAIT-2",
		[TCP_S_CLOSE_WAIT] = "CLOSE-WAIT", [TCP_S_CLOSING] = "CLOSING",
		[TCP_S_LAST_ACK] = "LAST-ACK",	   [TCP_S_TIME_WAIT] = "TIME-WAIT",
	};

	return names[t->state];
}
