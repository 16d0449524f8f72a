/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TCP engine (internal to netstack). No sockets, no clock: segments and
 * the time come in as arguments; segments, data and notes go out through
 * tcp_ops. The same code runs in the product, in the simulator with loss and
 * fake time, and in the fuzzer.
 */
#ifndef WEIR_NETSTACK_TCP_H
#define WEIR_NETSTACK_TCP_H

#include <sys/uio.h>

#include "base/base.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20

#define TCP_SACK_MAX 4

/* A received segment, header validated, checksum already verified or vouched for. */
struct tcp_seg {
	uint16_t src_port, dst_port;
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t wnd; /* unscaled */
	bool has_mss, has_wscale, has_ts, sack_ok;
	uint16_t mss;
	uint8_t wscale; /* capped at 14, RFC 7323 2.3 */
	uint32_t ts_val, ts_ecr;
	uint8_t n_sack;
	struct {
		uint32_t lo, hi;
	} sack[TCP_SACK_MAX];
	const uint8_t *data;
	size_t len; /* of the payload; its last tail_len bytes are in tail, the others at data */
	const struct iovec *tail;
	size_t tail_len;
};
/* From the TCP header on. -EINVAL: malformed, drop. Unknown options are skipped. */
must_check int tcp_seg_parse(const uint8_t *p, size_t len, struct tcp_seg *ret);

/* A segment to send: header with options, then payload from at most two pieces. */
struct tcp_out {
	uint8_t head[60]; /* TCP header, checksum field zero, ports set */
	size_t head_len;
	struct {
		const uint8_t *p;
		size_t len;
	} data[2];
	size_t data_len; /* may exceed mss: then segment by gso_size */
	/*
	 * The payload is in the owner's external queue (tcp_tx_external), not in
	 * data[]: bytes [offset, offset + data_len) of the stream.
	 */
	bool external;
	uint64_t offset;
	uint16_t gso_size; /* payload bytes per segment, 0 when data_len fits one */
};

struct tcp;

enum tcp_note {
	TCP_ESTABLISHED = 1, /* handshake complete */
	TCP_READABLE = 2,    /* new in-order bytes, or eof (tcp_rx_eof) */
	TCP_WRITABLE = 3,    /* room in the send queue again */
	TCP_RESET_BY_PEER = 4,
	TCP_TIMED_OUT = 5,
	TCP_CLOSED = 6, /* nothing left to do; the owner frees it after the call returns */
};

struct tcp_ops {
	/* False: the link takes no more now; the engine keeps it and waits for tcp_link_ready(). */
	bool (*emit)(struct tcp *t, const struct tcp_out *o);
	void (*note)(struct tcp *t, enum tcp_note n);
	/*
	 * May be NULL. The next bytes in order, before they are put into the
	 * (empty) receive queue: returns how many of them the owner has taken
	 * for good. No call into the engine from here.
	 */
	size_t (*direct)(struct tcp *t, const struct iovec *iov, unsigned n);
	/* When tcp_timer() is to be called; 0: never. Called whenever it changes. */
	void (*set_timer)(struct tcp *t, uint64_t when);
};

/* Shared by all connections of a stack. */
struct tcp_stack {
	const struct tcp_ops *ops;
	/*
	 * Where connections are allocated: objects of tcp_size(), so that rings, which come
	 * and go, do not lie between them and the heap can shrink; NULL: on the heap.
	 */
	struct pool *pool;
	struct hash_key isn_key;  /* RFC 6528 */
	uint16_t mss4, mss6;	  /* what our link can carry */
	size_t tso_max;		  /* largest data_len in one tcp_out; mss when no TSO */
	size_t rx_max, tx_max;	  /* per connection buffer caps, bytes */
	size_t mem_used, mem_max; /* all buffers of all connections; over it windows close */
	size_t mem_alloc;	  /* the part of mem_used that is allocated, not only promised */
	uint64_t retransmits;	  /* statistics */
	/*
	 * A peer that has said nothing for this long (ns) is probed, and the connection
	 * ends when it stays silent (RFC 9293 3.8.4); 0: never.
	 */
	uint64_t keep_idle;
	/* Set while many segments are put in: ACKs may wait for tcp_batch_done(). */
	bool batching;
};

/* Caller's view of one connection; private part in tcp.c. */
size_t tcp_size(void); /* of one struct tcp */
must_check int tcp_new(struct tcp_stack *s, const struct endpoint *local,
		       const struct endpoint *peer, void *owner, struct tcp **ret);
void tcp_free(struct tcp *t); /* silent; no note follows */
void *tcp_owner(const struct tcp *t);

/* Passive: the peer's SYN is remembered; nothing is sent until tcp_accept(). */
void tcp_syn_received(struct tcp *t, const struct tcp_seg *syn, uint64_t now);
void tcp_accept(struct tcp *t, uint64_t now);
/* Active: send a SYN. */
void tcp_connect(struct tcp *t, uint64_t now);

void tcp_input(struct tcp *t, const struct tcp_seg *s, uint64_t now);
void tcp_timer(struct tcp *t, uint64_t now);
void tcp_link_ready(struct tcp *t, uint64_t now);

/* In-order bytes received and not yet consumed, as at most two pieces. */
size_t tcp_rx_peek(const struct tcp *t, const uint8_t *ret_p[2], size_t ret_len[2]);
void tcp_rx_consume(struct tcp *t, size_t n, uint64_t now); /* opens the window */
bool tcp_rx_eof(const struct tcp *t); /* FIN received and everything before it is in rx */

/* To be called after TCP_READABLE once a batch is over: acknowledges what waited. */
void tcp_batch_done(struct tcp *t, uint64_t now);

/* Room in the send queue, and contiguous space to receive into directly. */
size_t tcp_tx_room(const struct tcp *t);
size_t tcp_tx_space(struct tcp *t, uint8_t *ret_p[2], size_t ret_len[2]);
void tcp_tx_commit(struct tcp *t, size_t n, uint64_t now);
/*
 * External send queue: the owner keeps the bytes (in a socket's receive queue,
 * say) until tcp_acked_bytes() is past them, and brings them at each emit();
 * the engine knows only how many there are. They come behind those in the ring,
 * which takes no more until all of them are acknowledged, and stays at its first
 * size. Offsets count from the stream's first byte. From here on TCP_WRITABLE is
 * told after tcp_tx_wait() only.
 */
void tcp_tx_external(struct tcp *t);
/* Something has never been sent yet: then TCP_WRITABLE follows once all of it has been. */
must_check bool tcp_tx_wait(struct tcp *t);
/* How many bytes more could be sent at once: a number of full segments, or 0. */
size_t tcp_tx_wanted(const struct tcp *t);
/* n bytes more can be had. Those that cannot be sent yet stay counted. */
void tcp_tx_supply(struct tcp *t, size_t n, uint64_t now);
/* Queued, and never sent yet. */
size_t tcp_tx_unsent(const struct tcp *t);
void tcp_shutdown(struct tcp *t, uint64_t now); /* FIN behind what is queued */
/* What is queued between the two goes out with the second, a FIN with the last of it. */
void tcp_hold_output(struct tcp *t, uint64_t now);
void tcp_release_output(struct tcp *t);
void tcp_abort(struct tcp *t, uint64_t now); /* RST; TCP_CLOSED follows */
/* The link has not taken the RST yet: only then is a connection that is over to be kept. */
bool tcp_rst_waits(const struct tcp *t);
/*
 * The path to the peer takes packets of at most mtu bytes, says an ICMP error about
 * a segment of ours with that sequence number. Believed only if such a segment is
 * unacknowledged (RFC 5927 4), and only downwards; then what is out goes again, smaller.
 */
void tcp_too_big(struct tcp *t, uint32_t seq, uint32_t mtu, uint64_t now);
/* The peer has sent a keep-alive probe: it wants to know whether the far end lives. */
bool tcp_peer_keeps_alive(const struct tcp *t);
/* Bytes of ours that the peer has acknowledged. */
uint64_t tcp_acked_bytes(const struct tcp *t);

/*
 * The owner is done with both directions: like tcp_shutdown(), but nobody will
 * read any more. Unread or later data is answered with RST (RFC 9293 3.10.4),
 * and a peer that never sends its FIN is waited for a minute, not for ever.
 */
void tcp_close(struct tcp *t, uint64_t now);
bool tcp_in_time_wait(const struct tcp *t);
/*
 * A SYN for a connection in TIME-WAIT that begins a new one (RFC 6191, RFC
 * 9293 3.10.7.4). Then free this one and treat the SYN as that of a new flow.
 * An owner that does not ask gets TCP_CLOSED and the peer sends its SYN again.
 */
bool tcp_time_wait_reusable(const struct tcp *t, const struct tcp_seg *syn);
/* RFC 9293 name of the state, for records and tests. */
const char *tcp_state_name(const struct tcp *t);

/* RST (or nothing) for a segment that belongs to no connection, RFC 9293 3.10.7.1. False: send nothing. */
bool tcp_refuse(const struct tcp_seg *s, struct tcp_out *ret);

#endif
