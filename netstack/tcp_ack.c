/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The acknowledgment half of a segment: range check (RFC 5961 5), the peer's
 * window, and loss recovery: RFC 5681 and 6582 without SACK, RFC 6675 in a
 * simple form with it (once loss is certain, every hole below the highest
 * SACKed byte is sent once; a lost retransmission waits for the timer).
 *
 * ack and SACK fields are the guest's: nothing is believed about bytes that
 * were not sent, and the timer backs up everything else.
 */
#include "netstack/tcp_int.h"

/*
 * Take the window from the newest segment only. RFC 9293 3.10.7.4 goes by SEQ
 * first; but a retransmission has an old SEQ and a new ACK, and keeping the old
 * window with it would move the right edge beyond what the peer promised.
 */
static void window_update(struct tcp *t, const struct tcp_seg *s)
{
	uint32_t wnd = (uint32_t)s->wnd << t->snd_scale;

	if (!seq_lt(t->snd_una, s->ack) && !seq_lt(t->snd_wl1, s->seq) &&
	    !(t->snd_wl1 == s->seq && seq_le(t->snd_wl2, s->ack)))
		return;
	t->snd_wl1 = s->seq;
	t->snd_wl2 = s->ack;
	if (wnd > t->snd_wnd && t->persist) {
		t->persist = false;
		t->probe_pending = false;
		t->backoff = 0;
		t->t_rtx = 0;
	}
	t->snd_wnd = wnd;
	t->max_wnd = MAX(t->max_wnd, wnd);
}

static void enter_fast(struct tcp *t)
{
	tcp_cc_fast_loss(t);
	t->recovery = TCP_R_FAST;
	t->lossy = true;
	t->recover = t->snd_nxt;
	t->rtx_nxt = t->redo_nxt = t->redo_end = t->mark_seq = t->snd_una;
	t->mark_at = t->now;
	t->rtx_force = true;
	t->t_rtx = 0;
}

/*
 * What was sent again and is still missing more than a round trip later, while
 * other bytes arrive, was lost again. That is the idea of RFC 8985 with one time
 * for each round trip instead of one for each segment: all that was resent and
 * lies below mark_seq had been resent by mark_at.
 */
static void find_lost_again(struct tcp *t)
{
	uint64_t wait = (uint64_t)MAX(t->srtt_us + t->srtt_us / 4, TCP_REDO_MIN_US) * 1000;

	if (t->recovery == TCP_R_OPEN || !t->sack_on || t->now < t->mark_at + wait)
		return;
	t->mark_at = t->now;
	if (seq_lt(seq_max(t->redo_nxt, t->snd_una), t->redo_end))
		return; /* not even sent yet */
	if (seq_lt(t->snd_una, t->mark_seq)) {
		t->redo_nxt = t->snd_una;
		t->redo_end = t->mark_seq;
	}
	t->mark_seq = t->rtx_nxt;
}

static void on_duplicate(struct tcp *t, uint32_t newly_sacked)
{
	uint32_t sacked;

	if (t->dupacks < 255)
		t->dupacks++;
	if (t->recovery != TCP_R_OPEN)
		return;
	/* RFC 6582 3.2: duplicates caused by our own retransmissions start nothing. */
	if (seq_lt(t->snd_una, t->recover))
		return;
	sacked = newly_sacked ? tcp_ranges_bytes(t->score, t->snd_una, t->snd_nxt) : 0;
	if (t->dupacks >= TCP_DUPTHRESH || sacked > (TCP_DUPTHRESH - 1) * t->mss)
		enter_fast(t);
}

static void sample_rtt(struct tcp *t, const struct tcp_seg *s)
{
	uint32_t ms;

	if (t->rtt_timing && seq_le(t->rtt_seq, s->ack)) {
		tcp_rtt_sample(t, t->now - t->rtt_start);
		t->rtt_timing = false;
	} else if (t->ts_on && s->has_ts && s->ts_ecr && t->recovery != TCP_R_OPEN &&
		   !(s->n_sack && seq_lt(s->sack[0].lo, s->ack))) {
		/*
		 * D-SACK excepted: then an earlier copy arrived and its ACK was lost,
		 * and the echo is that copy's.
		 */
		ms = tcp_ts_now(t) - s->ts_ecr;
		if (ms < TCP_RTO_MAX_US / 1000)
			tcp_rtt_sample(t, ms * NS_PER_MS);
	}
}

/* RFC 3522: the timer was early, the peer only slow. */
static void detect_spurious_timeout(struct tcp *t, const struct tcp_seg *s)
{
	if (t->eifel && t->recovery == TCP_R_LOSS && s->has_ts && s->ts_ecr &&
	    seq_lt(s->ts_ecr, t->rtx_ts)) {
		tcp_cc_undo(t);
		t->lossy = false;
		t->recovery = TCP_R_OPEN;
		t->rtx_force = false;
	}
	t->eifel = false;
}

static void on_advance(struct tcp *t, const struct tcp_seg *s)
{
	uint32_t n = s->ack - t->snd_una, data, ring;

	sample_rtt(t, s);
	detect_spurious_timeout(t, s);
	t->snd_una = s->ack;
	data = MIN(seq_gap(t->tx_seq, s->ack), t->tx.len + t->tx_ext);
	ring = MIN(data, t->tx.len);
	tcp_ring_consume(&t->tx, ring);
	t->tx_ext -= data - ring;
	if (t->tx.len == 0)
		t->tx.off = 0;
	t->tx_seq += data;
	t->acked += data;
	tcp_ranges_trim(&t->score, t->snd_una);
	/* An ACK that ends inside a SACKed range takes the rest back: trust none of them. */
	if (t->score && t->score->r[0].lo == t->snd_una)
		tcp_ranges_drop(&t->score);
	t->attempts = 0;
	t->dupacks = 0;
	t->probes = 0;
	t->t_probe = 0;
	t->t_rtx = 0; /* RFC 6298 5.3: armed anew when something is still out */
	tcp_cc_acked(t, n);
	if (t->recovery == TCP_R_OPEN) {
		t->recover = t->snd_una; /* never so old that the comparison turns round */
		return;
	}
	if (!seq_lt(t->snd_una, t->recover)) {
		tcp_cc_recovered(t);
		t->recovery = TCP_R_OPEN;
		t->rtx_force = false;
	} else if (t->recovery == TCP_R_FAST && !t->sack_on) {
		t->rtx_nxt = t->snd_una; /* partial ACK: the next hole begins here */
		t->rtx_force = true;
	}
}

/* Our FIN was acknowledged (RFC 9293 3.10.7.4, fifth). */
static void on_fin_acked(struct tcp *t)
{
	switch (t->state) {
	case TCP_S_FIN_WAIT_1:
		tcp_fin_wait_2(t);
		break;
	case TCP_S_CLOSING:
		tcp_time_wait(t);
		break;
	case TCP_S_LAST_ACK:
		tcp_finish(t);
		break;
	default:
		break;
	}
}

static void tell_writable(struct tcp *t)
{
	size_t room;

	if (!t->tx_waiting || t->external)
		return;
	room = tcp_tx_room(t);
	/* Not for every segment: a quarter of the ring is a read worth making. */
	if (room && (room >= t->tx.size / 4 || t->tx.len == 0)) {
		t->tx_waiting = false;
		tcp_note_add(t, TCP_WRITABLE);
	}
}

bool tcp_ack_process(struct tcp *t, const struct tcp_seg *s)
{
	bool same_window = (uint32_t)s->wnd << t->snd_scale == t->snd_wnd;
	uint32_t newly_sacked;

	if (seq_lt(t->snd_nxt, s->ack) || seq_lt(s->ack, t->snd_una - t->max_wnd)) {
		tcp_challenge(t);
		return false;
	}
	/* The peer lives: a closed window may stay closed for ever. */
	if (t->persist || t->snd_wnd == 0)
		t->attempts = 0;
	if (seq_lt(s->ack, t->snd_una))
		return true;
	window_update(t, s);
	if (seq_lt(t->snd_una, s->ack)) {
		on_advance(t, s);
		(void)tcp_sack_update(t, s);
		find_lost_again(t);
		if (t->fin_sent && t->snd_una == tcp_data_end(t) + 1)
			on_fin_acked(t);
		tell_writable(t);
		return true;
	}
	newly_sacked = tcp_sack_update(t, s);
	if (newly_sacked)
		t->t_probe = 0;
	find_lost_again(t);
	if (t->snd_una != t->snd_nxt && (newly_sacked || (s->len == 0 && same_window)) &&
	    !(s->flags & (TCP_SYN | TCP_FIN)))
		on_duplicate(t, newly_sacked);
	return true;
}
