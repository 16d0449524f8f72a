/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two sides of an intercepted flow, and what passes between them.
 *
 *              http_request_*()                      ops->head body end
 *   guest ──► guest side ──────────► exchange ──────────────► upstream side ──► upstream
 *         ◄── (server)   ◄────────── judged,  ◄────────────── (client)      ◄──
 *              ops->head body end    rewritten    http_response_*()
 *
 * A side speaks one wire protocol, HTTP/1 (RFC 9112) or HTTP/2 (RFC 9113), and
 * knows nothing of policy and secrets. An exchange is one request and its response
 * without a wire: it is judged, gets its secrets, is scrubbed, and is handed to the
 * other side as a head, pieces of body, and an end. So guest and upstream may speak
 * different protocols, and no decision is written twice.
 *
 * An exchange may end in any call below that gets it, but http_request_head() and
 * http_request_bad() of one whose response has not begun: after REFUSED, an end, fail
 * or cancel it is a side's no more. Before it is freed each side is told (forget).
 *
 * Nothing waits in an exchange but a short body that is gathered before its head
 * goes out. A receiver tells how much it takes (room), a sender is told what was
 * taken (taken): HTTP/1 stops reading, HTTP/2 gives no window.
 */
#ifndef WEIR_TLSPROXY_HTTP_SIDE_H
#define WEIR_TLSPROXY_HTTP_SIDE_H

#include "tlsproxy/http.h"

struct http_filter;
struct http_exchange;
struct http_head;    /* http_internal.h: method, target, fields; status */
struct http_framing; /* http_internal.h: is there a body, how long */
struct http_side;

/* What became of what was handed on. */
enum http_flow {
	HTTP_FLOW_ON = 0,
	HTTP_FLOW_WAIT = 1,    /* not now, and nothing was taken: again when pumped */
	HTTP_FLOW_REFUSED = 2, /* answered here, or over: drop what is left of its body */
	HTTP_FLOW_ABORT = 3,   /* out of memory, or the whole connection is over */
};

struct http_side_ops {
	/* ---- the wire ---- */
	/*
	 * Bytes from the peer; n == 0: nothing new, but something may go on. Takes what it can.
	 * Bytes for the peer are written to side->out by any of these calls.
	 */
	enum http_state (*feed)(struct http_side *s, const uint8_t *p, size_t n, size_t *ret_taken);
	/* The peer sends no more. */
	enum http_state (*eof)(struct http_side *s);
	/* Write what is ready, as far as side->out has room. */
	enum http_state (*pump)(struct http_side *s);
	/* No message is half read or half written, and none is awaited. */
	bool (*idle)(const struct http_side *s);
	/* Say goodbye: GOAWAY, or no further request after the present one. */
	void (*drain)(struct http_side *s);
	/* HTTP2_TICK_S are over: exchanges that stand still may end. NULL: has none of its own. */
	void (*tick)(struct http_side *s);
	/* The other side's peer shows life: ask this one's for a sign of it. NULL: it has none. */
	void (*ping)(struct http_side *s);
	void (*free)(struct http_side *s);

	/* ---- messages out: requests on the upstream side, responses on the guest's ---- */
	/*
	 * May a new head be written now? The upstream side: another request may be
	 * opened. The guest's: it is this exchange's turn. In either case there is room
	 * for a head of x->head_size bytes, or nothing waits to be written.
	 */
	bool (*ready)(const struct http_side *s, const struct http_exchange *x);
	/*
	 * h belongs to the caller and holds values of secrets: its text is overwritten
	 * after this returned, and what a side keeps of it, it wipes. Fields marked sensitive
	 * are never indexed (RFC 7541 7.1.3). Hop-by-hop fields are gone already; framing and connection
	 * are the side's to write. fr->body HTTP_BODY_CHUNKED: the length is not known before
	 * the end. Interim responses (1xx) come the same way, before the final one.
	 * -ENOBUFS: too long for this protocol, nothing was written. -ENOMEM.
	 */
	int (*head)(struct http_side *s, struct http_exchange *x, const struct http_head *h,
		    const struct http_framing *fr);
	/* Body bytes it would take now. */
	size_t (*room)(const struct http_side *s, const struct http_exchange *x);
	/* n <= room. */
	int (*body)(struct http_side *s, struct http_exchange *x, const uint8_t *p, size_t n);
	/* trailers NULL: none. */
	int (*end)(struct http_side *s, struct http_exchange *x, const struct http_head *trailers);
	/*
	 * The message cannot be completed, or its answer is not wanted: a stream is reset, an
	 * HTTP/1 connection is given up (upstream) or cut (guest).
	 */
	void (*reset)(struct http_side *s, struct http_exchange *x);

	/* ---- messages in ---- */
	/* n bytes of a body that this side read went on: window may be given back. */
	void (*taken)(struct http_side *s, struct http_exchange *x, size_t n);
	/* The exchange is over and about to be freed: forget it. */
	void (*forget)(struct http_side *s, struct http_exchange *x);
};

/* First member of each implementation. */
struct http_side {
	const struct http_side_ops *ops;
	struct http_filter *filter;
	struct buf *out; /* to its peer; the caller's, set before each call into the filter */
};

must_check int http1_guest_new(struct http_filter *f, struct http_side **ret);
must_check int http1_upstream_new(struct http_filter *f, struct http_side **ret);
must_check int http2_guest_new(struct http_filter *f, struct http_side **ret);
must_check int http2_upstream_new(struct http_filter *f, struct http_side **ret);
/* Nothing is owed on it and all of it ended in order, so that another filter's guest may use it. */
bool http2_upstream_rests(const struct http_side *s);
/* It leaves its filter, and serves another; with NULL none. */
void http2_upstream_move(struct http_side *s, struct http_filter *f);

/*
 * A PING came (RFC 9113 6.7). It was answered; while requests are open one of ours goes to
 * the other side's peer, if none is under way to it: what stands between keeps its state as
 * it would without us, and a server that asks for life is shown the guest's.
 */
void http_side_pinged(struct http_side *s);

/* What a side remembers of an exchange: a stream. NULL until set. */
void http_exchange_set_guest(struct http_exchange *x, void *stream);
void *http_exchange_guest(const struct http_exchange *x);
void http_exchange_set_upstream(struct http_exchange *x, void *stream);
void *http_exchange_upstream(const struct http_exchange *x);

/* RFC 9113 7: not processed at all, may be sent again. */
#define HTTP2_REFUSED_STREAM 7

/* The code (RFC 9113 7) with which one side's stream was reset, for the other's; 0: none was. */
void http_exchange_set_code(struct http_exchange *x, uint32_t code);
uint32_t http_exchange_code(const struct http_exchange *x);

/* ---- called by the guest side ------------------------------------------------------ */

/* A request's head is complete. NULL: out of memory. Ends with ops->forget. */
must_check struct http_exchange *http_exchange_new(struct http_filter *f);
/*
 * h as it was read, checked for the grammar of its protocol; target and authority
 * may still disagree. The same h again after WAIT. ON: send the body, then the end.
 */
must_check enum http_flow http_request_head(struct http_exchange *x, struct http_head *h,
					    const struct http_framing *fr);
/* Body bytes that are taken now; call http_request_body() with no more. */
size_t http_request_room(const struct http_exchange *x);
must_check enum http_flow http_request_body(struct http_exchange *x, const uint8_t *p, size_t n);
must_check enum http_flow http_request_end(struct http_exchange *x, const struct http_head *trailers);
/* Malformed: answered with status and a static sentence; nothing of it went upstream,
 * or the upstream's half is reset. */
void http_request_bad(struct http_exchange *x, unsigned status, const char *why);
/* The guest gave it up (RST_STREAM): so does the upstream side. */
void http_request_cancel(struct http_exchange *x);

/* ---- called by the upstream side ---------------------------------------------------- */

/* 1xx and final. ON: send the body, if any, then the end. */
must_check enum http_flow http_response_head(struct http_exchange *x, struct http_head *h,
					     const struct http_framing *fr);
size_t http_response_room(const struct http_exchange *x);
must_check enum http_flow http_response_body(struct http_exchange *x, const uint8_t *p, size_t n);
must_check enum http_flow http_response_end(struct http_exchange *x,
					    const struct http_head *trailers);
/*
 * No response, or none that can be passed on. token: RFC 9209 2.3, static; why: static.
 * Before a head went to the guest it is answered 502; after, reset. retry: nothing of
 * the request was processed upstream (REFUSED_STREAM, GOAWAY), the guest may send it again.
 */
void http_response_fail(struct http_exchange *x, const char *token, const char *why, bool retry);
/*
 * The upstream takes no more requests (GOAWAY): those that wait fail with retry, and the
 * guest is told to open another connection.
 */
void http_upstream_leaves(struct http_filter *f);
/* It takes extended CONNECT (RFC 8441 3), so the guest may be offered it. */
void http_upstream_connects(struct http_filter *f);
void http2_guest_offer_connect(struct http_side *s);

#endif
