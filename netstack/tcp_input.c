/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a segment does to the state: RFC 9293 3.10.7, in its order, with the
 * checks of RFC 5961 (blind resets, SYNs and data) and RFC 7323 (PAWS).
 *
 * Every field is the guest's. A segment that fails a check is dropped; where
 * the RFC wants an ACK in return it is rate-limited unless it carries payload,
 * so that two ends that disagree do not talk for ever.
 *
 * On acceptability we are a little wider than the RFC's table, as every stack
 * in use is: bytes at the very edge of the window are let in to be cut off, so
 * that the acknowledgment in a window probe counts; data reaches the ring only
 * within the window.
 */
#include "netstack/tcp_int.h"

/* ---- before the connection is synchronized ------------------------------ */

static void become_established(struct tcp *t, const struct tcp_seg *s)
{
	t->state = TCP_S_ESTABLISHED;
	t->snd_wnd = (uint32_t)s->wnd << (s->flags & TCP_SYN ? 0 : t->snd_scale);
	t->max_wnd = MAX(t->max_wnd, t->snd_wnd);
	t->snd_wl1 = s->seq;
	t->snd_wl2 = s->ack;
	t->snd_una = s->ack;
	t->attempts = 0;
	t->t_rtx = 0;
	if (t->rtt_timing)
		tcp_rtt_sample(t, t->now - t->rtt_start);
	t->rtt_timing = false;
	t->backoff = 0;
	tcp_note_add(t, TCP_ESTABLISHED);
}

/* SYN in hand, owner undecided: nothing is sent but a reset for what cannot be. */
static void input_held(struct tcp *t, const struct tcp_seg *s)
{
	if (s->flags & TCP_RST) {
		if (s->seq == t->irs || s->seq == t->irs + 1)
			tcp_kill(t, false, TCP_RESET_BY_PEER);
	} else if (s->flags & TCP_ACK) {
		tcp_send_rst(t, s->ack);
	} else if (s->flags & TCP_SYN) {
		tcp_syn_options(t, s);
	}
}

static void input_syn_sent(struct tcp *t, const struct tcp_seg *s)
{
	bool ack = s->flags & TCP_ACK;

	if (ack && s->ack != t->snd_nxt) {
		if (!(s->flags & TCP_RST))
			tcp_send_rst(t, s->ack);
		return;
	}
	if (s->flags & TCP_RST) {
		if (ack)
			tcp_kill(t, false, TCP_RESET_BY_PEER);
		return;
	}
	if (!(s->flags & TCP_SYN))
		return;
	tcp_syn_options(t, s);
	if (ack) {
		become_established(t, s);
		t->ack_now = true;
	} else { /* simultaneous open */
		t->state = TCP_S_SYN_RCVD;
		t->syn_pending = true;
	}
}

/* ---- checks ----------------------------------------------------------------- */

/* RFC 7323 5.3. True: drop. */
static bool paws_rejects(struct tcp *t, const struct tcp_seg *s)
{
	if (!t->ts_on || (s->flags & TCP_RST))
		return false;
	if (!s->has_ts)
		return true; /* RFC 7323 3.2 */
	if (!t->ts_recent_set || !seq_lt(s->ts_val, t->ts_recent))
		return false;
	if (t->now - t->ts_recent_at > TCP_PAWS_IDLE)
		return false;
	tcp_challenge(t);
	return true;
}

static void ts_update(struct tcp *t, const struct tcp_seg *s)
{
	if (!t->ts_on || !s->has_ts || !seq_le(s->seq, t->last_ack))
		return;
	t->ts_recent = s->ts_val;
	t->ts_recent_at = t->now;
	t->ts_recent_set = true;
}

static bool acceptable(const struct tcp *t, const struct tcp_seg *s)
{
	uint32_t edge = seq_max(t->rcv_adv, t->rcv_nxt);
	uint32_t len = (uint32_t)s->len + !!(s->flags & TCP_FIN);

	if (len == 0)
		return seq_le(t->rcv_nxt, s->seq) && seq_le(s->seq, edge + 1);
	return seq_lt(t->rcv_nxt, s->seq + len) && seq_le(s->seq, edge);
}

/* RFC 5961 3.2: only the exact next sequence number resets. */
static void input_rst(struct tcp *t, const struct tcp_seg *s)
{
	if (s->seq == t->rcv_nxt) {
		if (t->state == TCP_S_TIME_WAIT)
			tcp_finish(t);
		else
			tcp_kill(t, false, TCP_RESET_BY_PEER);
	} else if (seq_lt(t->rcv_nxt, s->seq) && seq_lt(s->seq, t->rcv_adv)) {
		tcp_challenge(t);
	}
}

bool tcp_in_time_wait(const struct tcp *t)
{
	return t->state == TCP_S_TIME_WAIT;
}

bool tcp_time_wait_reusable(const struct tcp *t, const struct tcp_seg *s)
{
	if (t->state != TCP_S_TIME_WAIT || (s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
		return false;
	if (t->rx.len) /* the owner has not read everything of the old one */
		return false;
	if (s->has_ts && t->ts_on && s->ts_val != t->ts_recent) /* RFC 6191 2 */
		return seq_lt(t->ts_recent, s->ts_val);
	return seq_lt(t->rcv_nxt, s->seq);
}

/* A SYN where none belongs. True: go on with the segment. */
static bool input_syn(struct tcp *t, struct tcp_seg *s)
{
	if (t->state == TCP_S_SYN_RCVD && s->seq == t->irs) {
		if ((s->flags & TCP_ACK) && s->ack == t->snd_nxt) {
			s->flags &= (uint8_t)~TCP_SYN; /* simultaneous open, last step */
			s->seq++;
			s->wnd >>= t->snd_scale; /* a SYN's window is not scaled */
			s->len = 0;
			t->ack_now = true;
			return true;
		}
		t->syn_pending = true; /* our SYN-ACK was lost */
		return false;
	}
	if (tcp_time_wait_reusable(t, s))
		tcp_finish(t);
	else
		tcp_challenge(t); /* RFC 5961 4.2 */
	return false;
}

/* ---- from SYN-RECEIVED on --------------------------------------------------- */

static bool input_ack(struct tcp *t, const struct tcp_seg *s)
{
	if (!(s->flags & TCP_ACK))
		return false;
	if (t->state != TCP_S_SYN_RCVD)
		return tcp_ack_process(t, s);
	if (s->ack != t->snd_nxt) {
		tcp_send_rst(t, s->ack);
		return false;
	}
	become_established(t, s);
	return true;
}

static void input_synchronized(struct tcp *t, struct tcp_seg *s)
{
	if (s->flags & TCP_SYN) {
		if (!input_syn(t, s))
			return;
	}
	if (paws_rejects(t, s))
		return;
	if (s->flags & TCP_RST) {
		input_rst(t, s);
		return;
	}
	if (!acceptable(t, s)) {
		/* RFC 9293 3.8.4; the last byte sent again looks alike, and harms no more. */
		if (s->seq == t->rcv_nxt - 1 && s->len <= 1 && !(s->flags & TCP_FIN))
			t->peer_keeps = true;
		if (s->len || (s->flags & TCP_FIN)) {
			/* Sent again, so our ACK was lost; tell it which bytes (RFC 2883). */
			if (s->len && seq_le(s->seq + (uint32_t)s->len, t->rcv_nxt)) {
				t->dsack_lo = s->seq;
				t->dsack_hi = s->seq + (uint32_t)s->len;
			}
			t->ack_now = true;
			if (t->state == TCP_S_TIME_WAIT && (s->flags & TCP_FIN))
				tcp_time_wait(t);
		} else {
			tcp_challenge(t); /* keep-alive, window probe */
		}
		return;
	}
	ts_update(t, s);
	if (!input_ack(t, s))
		return;
	tcp_rx_segment(t, s);
}

void tcp_input(struct tcp *t, const struct tcp_seg *seg, uint64_t now)
{
	struct tcp_seg s = *seg;

	tcp_enter(t, now);
	if (s.len)
		t->active_at = now;
	t->heard_at = now;
	t->keeps = 0;
	switch (t->state) {
	case TCP_S_CLOSED:
	case TCP_S_NEW:
		break;
	case TCP_S_HELD:
		input_held(t, &s);
		break;
	case TCP_S_SYN_SENT:
		input_syn_sent(t, &s);
		break;
	default:
		input_synchronized(t, &s);
		break;
	}
	tcp_leave(t);
}
