/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is sent, and when. tcp_output() runs once at the end of every outermost
 * call and sends, in this order: what recovery wants again, new data and the
 * FIN, a window probe, and an ACK when none of those carried it. State moves
 * only after emit() took the segment; when the link is full everything stays
 * as it is and tcp_link_ready() continues.
 *
 * Data is never held back to be merged (no Nagle): the relay hands over what a
 * read(2) gave, and the other end's own Nagle has been at work already. A
 * window too small for a full segment is waited for (RFC 9293 3.8.6.2.1),
 * with the persist timer as the way out. Nothing new goes beyond the peer's
 * window; what was sent before the peer shrank it may be sent again.
 */
#include "netstack/tcp_int.h"

static void sent_ack(struct tcp *t)
{
	t->ack_now = false;
	t->t_ack = 0;
	t->last_ack = t->rcv_nxt;
	t->dsack_lo = t->dsack_hi = 0;
}

/* Completes the header behind the options already in o->head and emits. */
static bool emit(struct tcp *t, struct tcp_out *o, uint32_t seq, uint8_t flags, size_t opt_len)
{
	uint32_t adv = t->rcv_adv;
	struct tcp_head h = {
		.seq = seq,
		.flags = flags,
		.ack = flags & TCP_ACK ? t->rcv_nxt : 0,
	};

	if (!(flags & TCP_RST))
		h.wnd = tcp_rx_advertise(t, flags & TCP_SYN);
	o->head_len = 20 + opt_len;
	tcp_head_write(o->head, t->local.port, t->peer.port, &h, o->head_len);
	if (!t->stack->ops->emit(t, o)) {
		t->rcv_adv = adv; /* not promised after all */
		t->link_full = true;
		return false;
	}
	if (flags & TCP_ACK)
		sent_ack(t);
	return true;
}

static bool emit_syn(struct tcp *t)
{
	bool syn_ack = t->state == TCP_S_SYN_RCVD;
	struct tcp_out o = { 0 };
	size_t n = tcp_syn_opts_write(t, o.head + 20, syn_ack);

	if (!emit(t, &o, t->iss, TCP_SYN | (syn_ack ? TCP_ACK : 0), n))
		return false;
	t->syn_pending = false;
	if (!t->rtt_timing && t->attempts == 0) {
		t->rtt_timing = true;
		t->rtt_seq = t->iss + 1;
		t->rtt_start = t->now;
	}
	return true;
}

/* RFC 9293 3.10.7.4: within what the peer accepts, even when it shrank its window. */
static uint32_t ack_seq(const struct tcp *t)
{
	uint32_t edge = t->snd_una + t->snd_wnd;

	if (seq_le(t->snd_nxt, edge) || (t->wscale_on && t->snd_nxt - edge < 1u << t->snd_scale))
		return t->snd_nxt;
	return edge;
}

static bool emit_ack(struct tcp *t, uint32_t seq)
{
	struct tcp_out o = { 0 };
	uint8_t *p = o.head + 20;
	size_t n = 0;
	unsigned k;

	if (t->ts_on)
		n += tcp_ts_opt_write(t, p);
	if (t->sack_on && (t->ooo || t->dsack_lo != t->dsack_hi)) {
		k = tcp_sack_blocks(t, p + n + 4, t->ts_on ? 3 : 4);
		if (k) {
			p[n] = p[n + 1] = 1;
			p[n + 2] = 5;
			p[n + 3] = (uint8_t)(2 + 8 * k);
			n += 4 + 8 * (size_t)k;
		}
	}
	return emit(t, &o, seq, TCP_ACK, n);
}

void tcp_send_rst(struct tcp *t, uint32_t seq)
{
	struct tcp_out o = { 0 };

	if (!t->link_full)
		(void)emit(t, &o, seq, TCP_RST, 0);
}

static void emit_last_rst(struct tcp *t)
{
	struct tcp_out o = { 0 };

	if (emit(t, &o, t->snd_nxt, TCP_RST | TCP_ACK, 0))
		t->rst_pending = false;
}

/* A segment is of the ring or of the owner's queue: `n` bytes from seq on, or as many as are of one. */
static uint32_t one_piece(const struct tcp *t, uint32_t seq, uint32_t n)
{
	uint32_t at = seq - t->tx_seq;

	return at < t->tx.len ? MIN(n, t->tx.len - at) : n;
}

/* n bytes from seq on, all in one piece, and the FIN behind them if asked. seq + n <= data end. */
static bool emit_data(struct tcp *t, uint32_t seq, uint32_t n, bool fin)
{
	struct tcp_out o = { .data_len = n, .gso_size = n > t->mss ? (uint16_t)t->mss : 0 };
	const uint8_t *p[2];
	size_t len[2], opt = 0;
	uint8_t flags = TCP_ACK | (fin ? TCP_FIN : 0);

	if (n && seq - t->tx_seq >= t->tx.len) {
		o.external = true;
		o.offset = t->acked + (seq - t->tx_seq);
	} else {
		tcp_ring_pieces(&t->tx, seq - t->tx_seq, n, p, len);
		for (int i = 0; i < 2; i++) {
			o.data[i].p = p[i];
			o.data[i].len = len[i];
		}
	}
	if (n && seq + n == tcp_data_end(t))
		flags |= TCP_PSH;
	if (t->ts_on)
		opt = tcp_ts_opt_write(t, o.head + 20);
	return emit(t, &o, seq, flags, opt);
}

/* ---- again ---------------------------------------------------------------- */

/* Up to here bytes without a SACK are taken for lost. */
uint32_t tcp_rtx_end(const struct tcp *t)
{
	uint32_t one;

	switch (t->recovery) {
	case TCP_R_LOSS:
		return t->recover;
	case TCP_R_FAST:
		/* Without SACK, or at the start: the first segment (RFC 6582). */
		one = seq_min(t->snd_una + t->mss, t->snd_nxt);
		if (t->sack_on)
			return t->rtx_force ? seq_max(one, tcp_sack_high(t)) : tcp_sack_high(t);
		return one;
	default:
		return t->snd_una;
	}
}

/* A frame that is lost must not be all there was, or only a timer tells. */
static uint32_t tso_max(const struct tcp *t)
{
	uint32_t n = (uint32_t)MIN(t->stack->tso_max, (size_t)65535);

	if (t->lossy)
		n = MIN(n, t->cwnd / TCP_LOSSY_PIECES);
	return MAX(n, t->mss);
}

/* At most what one tcp_out takes; a part segment only at the end of what there is. */
static uint32_t whole_segments(const struct tcp *t, uint32_t n, uint32_t all)
{
	uint32_t tso = tso_max(t);

	if (n == all && n <= tso)
		return n;
	n = MIN(n, tso);
	return n > t->mss ? n - n % t->mss : n;
}

/* One retransmission; false when there is nothing to do or no room for it. */
static bool retransmit_one(struct tcp *t)
{
	uint32_t end, n, all, data_end = tcp_data_end(t), pipe, seq;
	bool fin, redo = t->recovery != TCP_R_OPEN;

	seq = tcp_sack_hole(t, seq_max(t->redo_nxt, t->snd_una), t->redo_end, &end);
	if (!redo || !seq_lt(seq, end)) {
		redo = false;
		seq = tcp_sack_hole(t, seq_max(t->rtx_nxt, t->snd_una), tcp_rtx_end(t), &end);
	}
	if (!seq_lt(seq, end))
		return false;
	pipe = tcp_cc_pipe(t);
	n = pipe < t->cwnd ? t->cwnd - pipe : 0;
	if (t->rtx_force)
		n = MAX(n, t->mss);
	else if (n < t->mss && pipe)
		return false;
	all = one_piece(t, seq, seq_gap(seq, seq_min(end, data_end)));
	n = whole_segments(t, MIN(MAX(n, t->mss), all), all);
	fin = t->fin_sent && seq + n == data_end && seq_lt(data_end, end) && n <= t->mss;
	if (!emit_data(t, seq, n, fin))
		return false;
	t->stack->retransmits += n > t->mss ? (n + t->mss - 1) / t->mss : 1;
	t->rtx_force = false;
	t->rtt_timing = false; /* Karn */
	if (redo)
		t->redo_nxt = seq + n + fin;
	else
		t->rtx_nxt = seq + n + fin;
	return true;
}

/* ---- new ------------------------------------------------------------------ */

/* How many of `avail` unsent bytes may go in the next segment. */
static uint32_t sendable(struct tcp *t, uint32_t avail)
{
	uint32_t wnd = seq_gap(t->snd_nxt, t->snd_una + t->snd_wnd);
	uint32_t pipe = tcp_cc_pipe(t);
	uint32_t n = MIN(avail, wnd);
	uint32_t cw = pipe < t->cwnd ? t->cwnd - pipe : 0;

	if (cw < t->mss && cw < n)
		return 0;
	n = MIN(n, cw);
	if (n < t->mss && n < avail && n < t->max_wnd / 2 && !t->sws_override)
		return 0;
	return whole_segments(t, n, avail);
}

size_t tcp_tx_wanted(const struct tcp *t)
{
	uint32_t wnd = seq_gap(t->snd_nxt, t->snd_una + t->snd_wnd);
	uint32_t pipe = tcp_cc_pipe(t);
	uint32_t n = MIN(wnd, pipe < t->cwnd ? t->cwnd - pipe : 0);
	uint32_t tso = tso_max(t);

	if (t->link_full || tcp_tx_unsent(t) || !tcp_synchronized(t))
		return 0;
	n = MIN(n, tso);
	return n - n % t->mss;
}

/* Bytes that come soon behind the peer's are taken for their answer. */
static void note_turn(struct tcp *t)
{
	if (!t->asked_at)
		return;
	if (t->now - t->asked_at > TCP_DELACK_TURN)
		t->turns = 0;
	else if (t->turns < TCP_TURNS)
		t->turns++;
	t->asked_at = 0;
}

static void sent_new(struct tcp *t, uint32_t n)
{
	note_turn(t);
	if (t->snd_una == t->snd_nxt) {
		t->t_rtx = 0; /* it was the persist timer, if any */
		t->persist = false;
	}
	t->snd_nxt += n;
	t->sws_override = false;
	if (t->external && t->tx_waiting && !seq_lt(t->snd_nxt, tcp_data_end(t))) {
		t->tx_waiting = false;
		tcp_note_add(t, TCP_WRITABLE);
	}
	if (!t->rtt_timing && t->recovery == TCP_R_OPEN) {
		t->rtt_timing = true;
		t->rtt_seq = t->snd_nxt;
		t->rtt_start = t->now;
	}
}

static void sent_fin(struct tcp *t)
{
	t->fin_sent = true;
	if (t->state == TCP_S_CLOSE_WAIT)
		t->state = TCP_S_LAST_ACK;
	else
		t->state = TCP_S_FIN_WAIT_1;
}

static bool send_new_one(struct tcp *t)
{
	uint32_t avail = seq_gap(t->snd_nxt, tcp_data_end(t)), n;
	uint32_t wnd = seq_gap(t->snd_nxt, t->snd_una + t->snd_wnd);
	bool fin;

	if (t->fin_sent || (t->state != TCP_S_ESTABLISHED && t->state != TCP_S_CLOSE_WAIT))
		return false;
	n = sendable(t, one_piece(t, t->snd_nxt, avail));
	fin = t->fin_queued && n == avail && n <= t->mss && n < wnd;
	if ((n == 0 && !fin) || !emit_data(t, t->snd_nxt, n, fin))
		return false;
	sent_new(t, n + fin);
	if (fin)
		sent_fin(t);
	return true;
}

static void output_synchronized(struct tcp *t)
{
	while (!t->link_full && retransmit_one(t))
		;
	while (!t->link_full && send_new_one(t))
		;
	/* One byte before the window: every receiver answers with its window. */
	if (t->probe_pending && !t->link_full && emit_ack(t, t->snd_una - 1))
		t->probe_pending = false;
	if (!t->link_full && (t->ack_now || tcp_rx_update_due(t)))
		(void)emit_ack(t, ack_seq(t));
}

void tcp_output(struct tcp *t)
{
	if (t->link_full)
		return;
	switch (t->state) {
	case TCP_S_CLOSED:
		if (t->rst_pending)
			emit_last_rst(t);
		break;
	case TCP_S_NEW:
	case TCP_S_HELD:
		break;
	case TCP_S_SYN_SENT:
	case TCP_S_SYN_RCVD:
		if (t->syn_pending)
			(void)emit_syn(t);
		else if (t->ack_now)
			(void)emit_ack(t, t->snd_nxt);
		break;
	default:
		output_synchronized(t);
		break;
	}
}
