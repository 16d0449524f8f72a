/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Congestion window, round trip time, retransmission timeout.
 *
 * The link between us and the guest has no router and no other sender in it:
 * what the link cannot take is refused before it is sent (emit returns false),
 * so nothing is lost by design and there is no capacity to find out. Therefore
 * no slow start at the beginning: cwnd starts at the size of the send buffer
 * and the peer's window alone limits us. Loss can still happen (a tap's queue
 * overflows, the guest runs out of receive buffers); then this is RFC 5681:
 * half the flight, one segment after a timeout, slow start, additive increase.
 *
 * A guest that was paused looks like loss. The first ACK after a timeout that
 * echoes a timestamp from before the retransmission unmasks it (Eifel, RFC
 * 3522): the reduction is taken back and nothing more is sent twice.
 *
 * RTO: RFC 6298 with Karn's rule. Samples come from one timed segment at a
 * time, and from timestamps (RFC 7323 4) for segments that were resent.
 */
#include "netstack/tcp_int.h"

static uint32_t cwnd_max(const struct tcp *t)
{
	return MAX(pow2_floor(t->stack->tx_max), 16 * t->mss);
}

void tcp_cc_init(struct tcp *t)
{
	t->cwnd = t->ssthresh = cwnd_max(t);
	t->rto_us = TCP_RTO_INITIAL_US;
}

void tcp_cc_acked(struct tcp *t, uint32_t n)
{
	uint32_t max = cwnd_max(t);

	if (t->recovery == TCP_R_FAST || t->cwnd >= max)
		return;
	if (t->cwnd < t->ssthresh) {
		t->cwnd += MIN(n, t->ssthresh - t->cwnd);
	} else {
		t->cwnd_acc += MIN(n, t->cwnd);
		if (t->cwnd_acc >= t->cwnd) {
			t->cwnd_acc -= t->cwnd;
			t->cwnd += t->mss;
		}
	}
	t->cwnd = MIN(t->cwnd, max);
}

static void halve(struct tcp *t)
{
	uint32_t flight = t->snd_nxt - t->snd_una;

	/* Fewer could hardly make three duplicate ACKs, and there is no router to spare. */
	t->ssthresh = MAX(flight / 2, TCP_SSTHRESH_MIN * t->mss);
	t->cwnd_acc = 0;
}

void tcp_cc_fast_loss(struct tcp *t)
{
	halve(t);
	t->cwnd = t->ssthresh;
}

void tcp_cc_timeout(struct tcp *t)
{
	t->eifel = false;
	if (t->recovery != TCP_R_LOSS) { /* one loss event, one reduction */
		t->eifel = t->ts_on;
		t->rtx_ts = tcp_ts_now(t);
		t->prior_cwnd = t->cwnd;
		t->prior_ssthresh = t->ssthresh;
		halve(t);
	}
	t->cwnd = t->mss;
}

void tcp_loss(struct tcp *t)
{
	tcp_cc_timeout(t);
	t->recovery = TCP_R_LOSS;
	t->lossy |= t->ts_on; /* Eifel takes it back if the peer was only slow */
	t->recover = t->snd_nxt;
	t->rtx_nxt = t->redo_nxt = t->redo_end = t->mark_seq = t->snd_una;
	t->mark_at = t->now;
	t->rtx_force = true;
	t->dupacks = 0;
}

void tcp_cc_undo(struct tcp *t)
{
	t->cwnd = t->prior_cwnd;
	t->ssthresh = t->prior_ssthresh;
}

void tcp_cc_recovered(struct tcp *t)
{
	if (t->recovery == TCP_R_FAST)
		t->cwnd = t->ssthresh;
}

/* Bytes believed to be on their way (RFC 6675 "pipe"). */
uint32_t tcp_cc_pipe(const struct tcp *t)
{
	uint32_t flight = t->snd_nxt - t->snd_una;
	uint32_t gone = tcp_ranges_bytes(t->score, t->snd_una, t->snd_nxt);
	uint32_t from, end;

	if (t->recovery == TCP_R_FAST && !t->sack_on)
		gone = t->dupacks * t->mss;
	if (t->recovery != TCP_R_OPEN && (t->sack_on || t->recovery == TCP_R_LOSS)) {
		from = seq_max(t->rtx_nxt, t->snd_una);
		end = tcp_rtx_end(t);
		gone += seq_gap(from, end) - tcp_ranges_bytes(t->score, from, seq_max(from, end));
		from = seq_max(t->redo_nxt, t->snd_una);
		end = t->redo_end;
		gone += seq_gap(from, end) - tcp_ranges_bytes(t->score, from, seq_max(from, end));
	}
	return gone < flight ? flight - gone : 0;
}

void tcp_rtt_sample(struct tcp *t, uint64_t ns)
{
	uint32_t r = (uint32_t)MIN(ns / 1000, (uint64_t)TCP_RTO_MAX_US);
	uint32_t diff;

	if (t->srtt_us == 0) {
		t->srtt_us = MAX(r, 1u);
		t->rttvar_us = r / 2;
	} else {
		diff = t->srtt_us > r ? t->srtt_us - r : r - t->srtt_us;
		t->rttvar_us = t->rttvar_us - t->rttvar_us / 4 + diff / 4;
		t->srtt_us = MAX(t->srtt_us - t->srtt_us / 8 + r / 8, 1u);
	}
	t->rto_us = t->srtt_us + MAX(4 * t->rttvar_us, 1000u);
	t->rto_us = MIN(MAX(t->rto_us, TCP_RTO_MIN_US), TCP_RTO_MAX_US);
	t->backoff = 0;
}

uint64_t tcp_rto(const struct tcp *t)
{
	uint64_t us = (uint64_t)t->rto_us << MIN(t->backoff, 16);

	return MIN(us, (uint64_t)TCP_RTO_MAX_US) * 1000;
}
