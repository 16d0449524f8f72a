/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlines. A connection has a few and shows its owner one: the earliest.
 *
 *   t_rtx    retransmission (RFC 6298), or persist when nothing is out and the
 *            window keeps us from sending (RFC 9293 3.8.6.1)
 *   t_probe  loss found early (RFC 8985's idea), on links that have lost before
 *   t_ack    delayed ACK
 *   t_keep   keep-alive, when the owner of the stack wants it
 *   t_close  TIME-WAIT; FIN-WAIT-2 after tcp_close()
 *   t_idle   empty rings go back to the heap
 *
 * A deadline that moves later leaves the armed timer alone: it fires early
 * once, finds nothing due and is set anew. That is one timer operation per
 * RTO instead of one per segment.
 *
 * Time spent with the link full is not the peer's silence: the timer then
 * starts again without counting or backing off.
 */
#include "netstack/tcp_int.h"

static bool wants_to_send(const struct tcp *t)
{
	return tcp_synchronized(t) && !t->fin_sent &&
	       (seq_lt(t->snd_nxt, tcp_data_end(t)) || t->fin_queued);
}

static void arm_rtx(struct tcp *t)
{
	bool out = t->snd_una != t->snd_nxt;
	bool stuck = !out && !t->link_full && wants_to_send(t);

	if (t->state <= TCP_S_HELD || t->state == TCP_S_TIME_WAIT || (!out && !stuck)) {
		t->t_rtx = 0;
		t->persist = false;
	} else if (!t->t_rtx) {
		t->persist = stuck;
		t->t_rtx = t->now + tcp_rto(t);
	}
}

/*
 * An answer that is late by a round trip or two: the tail of what was sent, or all
 * of it again, was lost. Without this, each of those costs a retransmission timeout.
 */
static void arm_probe(struct tcp *t)
{
	uint32_t out = t->snd_nxt - t->snd_una;
	uint64_t wait = (uint64_t)(2 * t->srtt_us + 4 * t->rttvar_us) * 1000;

	/* A timeout that was not answered either: from there on RFC 6298 alone. */
	if (!t->lossy || !out || t->attempts || t->persist || t->probes >= TCP_PROBES ||
	    !tcp_synchronized(t)) {
		t->t_probe = 0;
	} else if (!t->t_probe) {
		wait = MAX(wait, TCP_PROBE_MIN) + (out <= t->mss ? TCP_PROBE_DELACK : 0);
		t->t_probe = t->now + wait;
	}
}

static void on_probe(struct tcp *t)
{
	t->probes++;
	t->rtt_timing = false;
	tcp_loss(t);
	t->cwnd = MIN(t->ssthresh, TCP_PROBE_CWND * t->mss);
}

/* Lazily: the timer stands for a while and looks then what has been heard meanwhile. */
static void arm_keep(struct tcp *t)
{
	if (!t->stack->keep_idle || !tcp_synchronized(t) || t->state == TCP_S_TIME_WAIT)
		t->t_keep = 0;
	else if (!t->t_keep)
		t->t_keep = t->heard_at + t->stack->keep_idle;
}

static void on_keep(struct tcp *t)
{
	if (t->now < t->heard_at + t->stack->keep_idle)
		return;
	/* Something is out, or a probe of the window: that has its own timer and end. */
	if (t->snd_una == t->snd_nxt && !t->persist) {
		if (t->keeps >= TCP_KEEPS) {
			tcp_kill(t, true, TCP_TIMED_OUT);
			return;
		}
		t->keeps++;
		t->probe_pending = true;
	}
	t->t_keep = t->now + TCP_KEEP_INTERVAL;
}

static bool rings_empty(const struct tcp *t)
{
	return (t->rx.size && !t->rx.len && !t->ooo) || (t->tx.size && !t->tx.len);
}

void tcp_rings_release(struct tcp *t)
{
	if (t->rx.size && !t->rx.len && !t->ooo) {
		tcp_ring_free(&t->rx);
		/* The promise made stands and stays paid for; it is not renewed at this size. */
		t->rx_cap = MIN(t->rx_cap, (uint32_t)TCP_RX_FLOOR);
		t->rx_total = 0;
	}
	if (t->tx.size && !t->tx.len)
		tcp_ring_free(&t->tx);
}

/*
 * A direction that is over never needs its ring again. Thousands of short
 * connections in TIME-WAIT must cost their structs alone.
 */
void tcp_rings_release_ended(struct tcp *t)
{
	if (t->eof && !t->rx.len && t->rx.size)
		tcp_ring_free(&t->rx);
	if (t->fin_queued && !t->tx.len && t->tx.size)
		tcp_ring_free(&t->tx);
}

static void earliest(uint64_t *when, uint64_t candidate)
{
	if (candidate && (!*when || candidate < *when))
		*when = candidate;
}

void tcp_timers_arm(struct tcp *t)
{
	uint64_t when = 0;

	arm_rtx(t);
	arm_probe(t);
	arm_keep(t);
	if (!t->t_idle && t->state != TCP_S_CLOSED && rings_empty(t))
		t->t_idle = t->now + TCP_IDLE_RELEASE;
	earliest(&when, t->t_rtx);
	earliest(&when, t->t_probe);
	earliest(&when, t->t_ack);
	earliest(&when, t->t_keep);
	earliest(&when, t->t_close);
	earliest(&when, t->t_idle);
	if (when ? !t->armed || when < t->armed : t->armed && t->state == TCP_S_CLOSED) {
		t->armed = when;
		t->stack->ops->set_timer(t, when);
	}
}

void tcp_challenge(struct tcp *t)
{
	if (!t->challenge_at || t->now - t->challenge_at >= NS_PER_S) {
		t->challenge_at = MAX(t->now, UINT64_C(1));
		t->challenges = 0;
	}
	if (t->challenges >= TCP_CHALLENGE_PER_S)
		return;
	t->challenges++;
	t->ack_now = true;
}

static void on_rto(struct tcp *t)
{
	unsigned tries = tcp_synchronized(t) ? TCP_RTX_TRIES : TCP_SYN_TRIES;

	if (++t->attempts > tries) {
		tcp_kill(t, t->state != TCP_S_SYN_SENT, TCP_TIMED_OUT);
		return;
	}
	t->rtt_timing = false;
	if (!tcp_synchronized(t)) {
		t->syn_pending = true;
		t->stack->retransmits++;
	} else {
		/* RFC 2018 8: a peer may take SACKed bytes back; a second silence says it did. */
		if (t->backoff)
			tcp_ranges_drop(&t->score);
		tcp_loss(t);
	}
	t->backoff += t->backoff < 16;
}

static void on_persist(struct tcp *t)
{
	if (++t->attempts > TCP_PROBE_TRIES) {
		tcp_kill(t, true, TCP_TIMED_OUT);
		return;
	}
	if (t->snd_wnd)
		t->sws_override = true;
	else
		t->probe_pending = true;
	t->backoff += t->backoff < 16;
}

static void on_idle(struct tcp *t)
{
	if (t->now < t->active_at + TCP_IDLE_RELEASE) {
		t->t_idle = t->active_at + TCP_IDLE_RELEASE;
	} else {
		tcp_rings_release(t);
	}
	if (t->tx_waiting && !t->external && tcp_tx_room(t)) {
		t->tx_waiting = false;
		tcp_note_add(t, TCP_WRITABLE);
	}
}

static bool due(struct tcp *t, uint64_t *deadline)
{
	if (!*deadline || t->now < *deadline)
		return false;
	*deadline = 0;
	return true;
}

void tcp_timer(struct tcp *t, uint64_t now)
{
	tcp_enter(t, now);
	t->armed = 0;
	if (due(t, &t->t_ack)) {
		t->ack_now = true;
		t->ack_soon |= t->turns == TCP_TURNS;
	}
	if (due(t, &t->t_rtx) && !t->link_full) {
		if (t->persist)
			on_persist(t);
		else
			on_rto(t);
	}
	if (due(t, &t->t_probe) && !t->link_full && t->snd_una != t->snd_nxt)
		on_probe(t);
	if (due(t, &t->t_keep))
		on_keep(t);
	if (due(t, &t->t_idle))
		on_idle(t);
	if (due(t, &t->t_close))
		tcp_finish(t);
	tcp_leave(t);
}
