/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the TCP engine share. Nobody else includes this.
 *
 *   tcp.c        life of a connection, calls of the owner, notes
 *   tcp_input.c  RFC 9293 3.10.7: what a segment does to the state
 *   tcp_ack.c    the acknowledgment of a segment: window, loss recovery
 *   tcp_sack.c   ranges: sender's scoreboard, receiver's out-of-order list
 *   tcp_cc.c     congestion window, round trip time, retransmission timeout
 *   tcp_rx.c     reassembly, the window we offer
 *   tcp_out.c    what is sent, and when
 *   tcp_timer.c  deadlines
 *   tcp_ring.c   byte rings and the memory account
 *   tcp_seg.c    the wire form
 */
#ifndef WEIR_NETSTACK_TCP_INT_H
#define WEIR_NETSTACK_TCP_INT_H

#include "netstack/tcp.h"

/* ---- caps and constants ------------------------------------------------ */

/* A peer that cuts its stream into single bytes with gaps cannot make us keep more ranges. */
#define TCP_OOO_MAX 64
/* The same for the SACK blocks it reports about our data. */
#define TCP_SCORE_MAX 32
/* Ten thousand one-byte segments for one write: a peer's MSS below this is not believed. */
#define TCP_MSS_MIN 88
#define TCP_MSS_DEFAULT4 536  /* no MSS option: RFC 9293 3.7.1 */
#define TCP_MSS_DEFAULT6 1220 /* RFC 9293 3.7.1 */
#define TCP_WSCALE_MAX 14     /* RFC 7323 2.3 */

/*
 * Memory (of rings; the two range lists add 1.2 KB while they exist). A
 * connection may always use its floors; what goes beyond them is taken from
 * tcp_stack.mem_max first, the promised window included. So the whole is
 * bounded by mem_max + connections * (both floors). Promises alone, made by
 * idle connections that were fast once, keep others at their floors and no
 * lower; pressure begins when mem_max is really allocated.
 */
#define TCP_RX_FLOOR 65536
#define TCP_TX_FLOOR 65536
#define TCP_RX_PRESSURE 8192 /* under pressure: unread + window of one connection, */
#define TCP_TX_FIRST 16384   /* and its send ring (otherwise the first size of one) */
#define TCP_RING_FIRST 4096
#define TCP_IDLE_RELEASE (1 * NS_PER_S) /* an empty ring is given back after this */

/* A peer that answers nothing holds a connection no longer than these allow. */
#define TCP_SYN_TRIES 6	   /* 1+2+4+8+16+32 s */
#define TCP_RTX_TRIES 12   /* about five minutes at the minimum RTO */
#define TCP_PROBE_TRIES 10 /* unanswered zero-window probes */

#define TCP_KEEPS 9 /* keep-alive probes before a silent peer is given up */
#define TCP_KEEP_INTERVAL (75 * NS_PER_S)
/* Nobody's path is narrower: a forged ICMP error must not make us send crumbs. */
#define TCP_PATH_MTU_MIN4 552 /* RFC 1191's 68 would be one packet for each 28 bytes */
#define TCP_PATH_MTU_MIN6 1280

#define TCP_RTO_INITIAL_US 1000000u /* RFC 6298 2.1 */
#define TCP_RTO_MIN_US 200000u	    /* as Linux; the RFC's second is for the Internet */
#define TCP_RTO_MAX_US 60000000u    /* RFC 6298 2.5 */
#define TCP_DIRECT_MIN 8192	    /* below this a copy is cheaper than a call of tcp_ops.direct */
#define TCP_DELACK (5 * NS_PER_MS)  /* short: a client that waits for it (Nagle) is right here */
/* Once so many times in a row an answer came within it, which carries the ACK; as Linux. */
#define TCP_DELACK_TURN (40 * NS_PER_MS)
#define TCP_TURNS 2
#define TCP_ACK_STRETCH (256u << 10)   /* unacknowledged at most within a batch of the link */
#define TCP_TIME_WAIT (2 * NS_PER_S)   /* 2 MSL, MSL 1 s: one link, nothing lingers on it */
#define TCP_FIN_WAIT_2 (60 * NS_PER_S) /* the owner is gone, the peer never closes */
#define TCP_MEM_RETRY (20 * NS_PER_MS) /* malloc failed: try to read from the relay again */
#define TCP_PAWS_IDLE (UINT64_C(24) * 86400 * NS_PER_S) /* RFC 7323 5.5 */

/* Answers to segments that are not acceptable: a storm of them gets no storm back (RFC 5961 7). */
#define TCP_CHALLENGE_PER_S 10

#define TCP_DUPTHRESH 3
#define TCP_SSTHRESH_MIN 8 /* segments */

/*
 * Loss found by time (after RFC 8985), once a connection has seen loss at all: on a
 * link that loses nothing, a guest that is slow to answer is never sent anything twice.
 */
#define TCP_PROBES 3
#define TCP_PROBE_MIN (3 * NS_PER_MS)	  /* after the last sign of life */
#define TCP_PROBE_DELACK (40 * NS_PER_MS) /* more when one segment is out: its ACK may be delayed */
#define TCP_LOSSY_PIECES 4		  /* per cwnd, so that the rest shows that one is lost */
#define TCP_PROBE_CWND 10		  /* segments: RFC 6928 */
#define TCP_REDO_MIN_US 500u		  /* no retransmission is lost sooner than this */

/* ---- state ---------------------------------------------------------------- */

enum tcp_state {
	TCP_S_CLOSED = 0,
	TCP_S_NEW,  /* nothing has happened yet */
	TCP_S_HELD, /* LISTEN with the peer's SYN in hand: the owner has not decided */
	TCP_S_SYN_SENT,
	TCP_S_SYN_RCVD,
	TCP_S_ESTABLISHED,
	TCP_S_FIN_WAIT_1,
	TCP_S_FIN_WAIT_2,
	TCP_S_CLOSE_WAIT,
	TCP_S_CLOSING,
	TCP_S_LAST_ACK,
	TCP_S_TIME_WAIT,
};

enum tcp_recovery {
	TCP_R_OPEN = 0,
	TCP_R_FAST, /* three duplicate ACKs or the SACK equivalent */
	TCP_R_LOSS, /* retransmission timeout */
};

/* Size is zero or a power of two; content starts at off. */
struct tcp_ring {
	uint8_t *p;
	uint32_t size, off, len;
};

/* [lo, hi) in sequence space; stamp orders the receiver's ranges by recency. */
struct tcp_range {
	uint32_t lo, hi, stamp;
};

/* Sorted, disjoint, not touching. */
struct tcp_ranges {
	uint32_t n;
	uint32_t stamp;
	struct tcp_range r[];
};

struct tcp {
	struct tcp_stack *stack;
	void *owner;
	struct endpoint local, peer;
	uint64_t now;	/* of the call in progress */
	uint64_t armed; /* what set_timer was last told */

	/* deadlines, 0: none */
	uint64_t t_rtx;	    /* retransmission or persist */
	uint64_t t_ack;	    /* delayed ACK */
	uint64_t t_probe;   /* an answer is late, on a link that has lost before */
	uint64_t t_close;   /* TIME-WAIT, FIN-WAIT-2 */
	uint64_t t_idle;    /* give empty rings back; retry after malloc failed */
	uint64_t t_keep;    /* keep-alive */
	uint64_t heard_at;  /* last segment of the peer */
	uint64_t active_at; /* last payload in either direction */

	uint8_t state;	  /* enum tcp_state */
	uint8_t recovery; /* enum tcp_recovery */
	uint8_t depth;	  /* calls of ours on the stack, through notes */
	uint8_t notes;	  /* pending, bit per enum tcp_note */
	uint8_t snd_scale, rcv_scale;
	uint8_t backoff;
	uint8_t attempts; /* of the timer since the peer last gave reason to hope */
	uint8_t dupacks;
	uint8_t keeps;	    /* keep-alive probes since heard_at */
	uint8_t probes;	    /* of t_probe, since the last acknowledgment of anything */
	uint8_t challenges; /* in the current second */
	uint8_t turns; /* bytes of the peer's that ours answered, in a row, TCP_TURNS at most */

	bool ts_on : 1, sack_on : 1, wscale_on : 1;
	bool link_full : 1;
	bool syn_pending : 1; /* SYN or SYN-ACK to be (re)sent */
	bool rst_pending : 1; /* CLOSED, but the link did not take the RST yet */
	bool ack_now : 1;
	bool rtx_force : 1;	/* one retransmission whatever cwnd says */
	bool probe_pending : 1; /* zero-window probe */
	bool persist : 1;	/* t_rtx is the persist timer */
	bool sws_override : 1;
	bool fin_queued : 1, fin_sent : 1;
	bool fin_seen : 1; /* rx_fin is known; eof: rcv_nxt is past it */
	bool eof : 1;
	bool rx_closed : 1;  /* tcp_close(): nobody reads any more */
	bool tx_waiting : 1; /* the owner found no room: TCP_WRITABLE is owed */
	bool peer_keeps : 1; /* it sends keep-alive probes */
	bool lossy : 1;	     /* the link is known to lose */
	bool external : 1;   /* the owner has a queue of its own behind the ring */
	bool rtt_timing : 1;
	bool eifel : 1;	      /* the next ACK may show that the timeout was spurious */
	bool reset : 1;	      /* ended by RST or timeout: unread bytes do not delay TCP_CLOSED */
	bool closed_told : 1; /* TCP_CLOSED was noted */
	bool ts_recent_set : 1;
	bool ack_soon : 1; /* it has waited TCP_DELACK_TURN in vain: never again */

	/* send: RFC 9293 names; tx.off is the byte with sequence number tx_seq */
	uint32_t iss, snd_una, snd_nxt;
	uint32_t snd_wnd, snd_wl1, snd_wl2, max_wnd;
	uint32_t tx_seq;
	uint32_t mss; /* payload of one segment, options taken off */
	uint32_t cwnd, ssthresh, cwnd_acc;
	uint32_t recover;	     /* snd_nxt when loss was found */
	uint32_t rtx_nxt;	     /* next to look at for retransmission */
	uint32_t redo_nxt, redo_end; /* retransmissions that were lost, too */
	uint32_t mark_seq;	     /* rtx_nxt at mark_at */
	uint64_t mark_at;
	uint32_t prior_cwnd, prior_ssthresh, rtx_ts; /* for eifel */
	uint32_t srtt_us, rttvar_us, rto_us;
	uint32_t rtt_seq;
	uint64_t rtt_start;
	uint64_t acked;
	struct tcp_ring tx;
	uint32_t tx_ext; /* bytes behind those of the ring, in the owner's queue */
	struct tcp_ranges *score;

	/* receive */
	uint32_t irs, rcv_nxt;
	uint32_t rcv_adv;  /* right edge of the window as promised */
	uint32_t last_ack; /* rcv_nxt in what was last sent */
	uint32_t rx_fin;   /* sequence number of the peer's FIN */
	uint32_t rcv_mss;  /* estimate of the peer's segment size */
	uint32_t rx_cap;   /* what we let unread + window be */
	uint32_t ts_recent, ts_offset;
	uint64_t ts_recent_at;
	uint64_t rx_total;
	uint64_t challenge_at;
	uint64_t asked_at;	     /* when bytes came that ours have not answered yet; 0: none */
	uint32_t dsack_lo, dsack_hi; /* equal: none */
	struct tcp_ring rx;
	struct tcp_ranges *ooo;
	size_t charged, allocated; /* our part of stack->mem_used, mem_alloc */
	uint16_t peer_mss;	   /* as offered, clamped */
	uint16_t path_mss;	   /* 0, or what routers behind the peer's link allow */
};

/* ---- sequence arithmetic ---------------------------------------------- */

static inline bool seq_lt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline bool seq_le(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) <= 0;
}

static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
	return seq_lt(a, b) ? b : a;
}

static inline uint32_t seq_min(uint32_t a, uint32_t b)
{
	return seq_lt(a, b) ? a : b;
}

/* b - a, or 0 when b is before a. */
static inline uint32_t seq_gap(uint32_t a, uint32_t b)
{
	return seq_lt(a, b) ? b - a : 0;
}

/* ---- tcp.c ------------------------------------------------------------ */

void tcp_enter(struct tcp *t, uint64_t now);
void tcp_leave(struct tcp *t); /* notes, output, timer */
void tcp_note_add(struct tcp *t, enum tcp_note n);
/* To CLOSED at once. rst: tell the peer. why: 0 or the note that says it. */
void tcp_kill(struct tcp *t, bool rst, enum tcp_note why);
/* CLOSED in order; TCP_CLOSED when everything received was read. */
void tcp_finish(struct tcp *t);
/* Take over the peer's SYN: irs, options, scales. */
void tcp_syn_options(struct tcp *t, const struct tcp_seg *s);
void tcp_mss_update(struct tcp *t);
void tcp_time_wait(struct tcp *t);
void tcp_fin_wait_2(struct tcp *t);

static inline bool tcp_synchronized(const struct tcp *t)
{
	return t->state >= TCP_S_ESTABLISHED;
}

static inline uint16_t tcp_link_mss(const struct tcp *t)
{
	return t->local.addr.family == 4 ? t->stack->mss4 : t->stack->mss6;
}

/* First sequence number behind the queued data: the FIN's. */
static inline uint32_t tcp_data_end(const struct tcp *t)
{
	return t->tx_seq + t->tx.len + t->tx_ext;
}

static inline uint32_t tcp_ts_now(const struct tcp *t)
{
	return (uint32_t)(t->now / NS_PER_MS) + t->ts_offset;
}

/* ---- tcp_ack.c -------------------------------------------------------- */

/* False: the segment is to be dropped. */
bool tcp_ack_process(struct tcp *t, const struct tcp_seg *s);

/* ---- tcp_sack.c ------------------------------------------------------- */

/* Add [lo, hi); false when it would need more than max ranges or memory. */
bool tcp_ranges_add(struct tcp_ranges **rp, uint32_t max, uint32_t lo, uint32_t hi);
/* Forget what is before seq; frees the list when it is empty. */
void tcp_ranges_trim(struct tcp_ranges **rp, uint32_t seq);
void tcp_ranges_drop(struct tcp_ranges **rp);
uint32_t tcp_ranges_bytes(const struct tcp_ranges *r, uint32_t lo, uint32_t hi);
uint32_t tcp_sack_update(struct tcp *t, const struct tcp_seg *s);
/* First byte at or after seq that is not SACKed; *ret_end: where the next SACKed range begins. */
uint32_t tcp_sack_hole(const struct tcp *t, uint32_t seq, uint32_t limit, uint32_t *ret_end);
uint32_t tcp_sack_high(const struct tcp *t);
/* SACK option for an ACK, most recent first, at most n blocks; returns the blocks written. */
unsigned tcp_sack_blocks(struct tcp *t, uint8_t *p, unsigned n);

/* ---- tcp_cc.c --------------------------------------------------------- */

void tcp_cc_init(struct tcp *t);
void tcp_cc_acked(struct tcp *t, uint32_t n);
void tcp_cc_fast_loss(struct tcp *t);
void tcp_cc_timeout(struct tcp *t);
/* Everything that is out and not SACKed is lost, or so it seems. */
void tcp_loss(struct tcp *t);
void tcp_cc_undo(struct tcp *t); /* that timeout was none */
void tcp_cc_recovered(struct tcp *t);
uint32_t tcp_cc_pipe(const struct tcp *t);
void tcp_rtt_sample(struct tcp *t, uint64_t ns);
uint64_t tcp_rto(const struct tcp *t); /* with backoff, ns */

/* ---- tcp_rx.c --------------------------------------------------------- */

/* Payload and FIN of an acceptable segment. */
void tcp_rx_segment(struct tcp *t, const struct tcp_seg *s);
/* n bytes in order have been taken, and none is left: perhaps more at a time would be. */
void tcp_rx_passed(struct tcp *t, uint32_t n);
uint32_t tcp_rx_window(const struct tcp *t); /* promised and not yet used */
bool tcp_rx_update_due(const struct tcp *t);
/* The window field for the next segment; moves rcv_adv. */
uint16_t tcp_rx_advertise(struct tcp *t, bool syn);

/* ---- tcp_out.c -------------------------------------------------------- */

void tcp_output(struct tcp *t);
void tcp_send_rst(struct tcp *t, uint32_t seq); /* for a bad ACK; best effort */
uint32_t tcp_rtx_end(const struct tcp *t);

/* ---- tcp_timer.c ------------------------------------------------------ */

void tcp_timers_arm(struct tcp *t);
void tcp_challenge(struct tcp *t); /* rate-limited ACK */
void tcp_rings_release(struct tcp *t);
void tcp_rings_release_ended(struct tcp *t); /* those that are empty */

/* ---- tcp_ring.c ------------------------------------------------------- */

must_check bool tcp_ring_reserve(struct tcp_ring *r, size_t size);
void tcp_ring_free(struct tcp_ring *r);
void tcp_ring_write(struct tcp_ring *r, uint32_t pos, const uint8_t *src, size_t n);
size_t tcp_ring_pieces(const struct tcp_ring *r, uint32_t pos, uint32_t n, const uint8_t *ret_p[2],
		       size_t ret_len[2]);
void tcp_ring_consume(struct tcp_ring *r, uint32_t n);
void tcp_mem_update(struct tcp *t);
/* What raising rx_cap to `cap` would add to mem_used. */
size_t tcp_rx_growth_cost(const struct tcp *t, size_t cap);
bool tcp_mem_pressure(const struct tcp *t);
bool tcp_mem_fits(const struct tcp *t, size_t more);
uint32_t pow2_floor(size_t n);

/* ---- tcp_seg.c -------------------------------------------------------- */

struct tcp_head {
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t wnd;
};
void tcp_head_write(uint8_t *p, uint16_t src, uint16_t dst, const struct tcp_head *h,
		    size_t head_len);
/* The options of a SYN; returns their length. */
size_t tcp_syn_opts_write(const struct tcp *t, uint8_t *p, bool syn_ack);
size_t tcp_ts_opt_write(const struct tcp *t, uint8_t *p);
/* Bytes [skip, skip + n) of the payload as pieces; they must be there. */
#define TCP_SEG_PIECES 65
unsigned tcp_seg_pieces(const struct tcp_seg *s, size_t skip, size_t n,
			struct iovec ret[TCP_SEG_PIECES]);

#endif
