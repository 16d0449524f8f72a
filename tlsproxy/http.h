/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP filter (internal to tlsproxy): one per intercepted flow. Bytes in,
 * bytes out, no I/O. Requests are parsed strictly and written anew from the
 * parsed form; secrets are put in, violations found, denials answered.
 *
 *   guest bytes ──► http_from_guest() ──► to_upstream      (requests)
 *                                    └──► to_guest         (403, 400, 421)
 *   upstream bytes ──► http_from_upstream() ──► to_guest   (responses)
 *                                         └──► to_upstream (what waited; HTTP/2's own frames)
 */
#ifndef WEIR_TLSPROXY_HTTP_H
#define WEIR_TLSPROXY_HTTP_H

#include "tlsproxy/tlsproxy.h"

/* ---- secrets, loaded ------------------------------------------------------- */

/*
 * All secrets of the sandbox with their placeholders and the automata that find
 * placeholders and values in plain and encoded forms. Values sit in locked
 * memory that is not dumped and is wiped with the last reference. A set never
 * changes: secret_set_next() makes another, with what the old one must hand down.
 */
struct secret_set;
must_check int secret_set_new(const struct tlsproxy_secret *s, size_t n, struct secret_set **ret,
			      char *err, size_t err_size);
must_check int secret_set_next(const struct secret_set *old, const struct tlsproxy_secret *s,
			       size_t n, uint64_t now_s, struct secret_set **ret, char *err,
			       size_t err_size);
/* One more reference; NULL stays NULL. */
struct secret_set *secret_set_ref(struct secret_set *set);
/* The last one wipes. NULL is fine. */
void secret_set_unref(struct secret_set *set);
static inline void secret_set_free(struct secret_set *set)
{
	secret_set_unref(set);
}
/* Names it knows, removed ones included. */
size_t secret_set_count(const struct secret_set *set);
const char *secret_set_placeholder(const struct secret_set *set, size_t i);

/*
 * Smallest cap of the buffers a filter writes to: a whole head, written anew,
 * fits one. Values are written to to_upstream: reserve its storage once (growing
 * would leave copies behind) and wipe it when it is done with.
 */
#define HTTP_BUF_MIN ((size_t)128 * 1024)

/* ---- filter ------------------------------------------------------------------ */

enum http_state {
	HTTP_OK = 0,
	HTTP_CLOSE = 1,	 /* flush to_guest, then close both sides in order */
	HTTP_ABORT = 2,	 /* close both sides at once */
	HTTP_TUNNEL = 3, /* 101: the filter passes bytes on, still looking for placeholders */
	/* A CONNECT was answered 2xx: see http_filter_connected(); nothing behind it was taken. */
	HTTP_CONNECTED = 4,
};

struct http_filter;
struct http_filter_config {
	struct secret_set *secrets; /* may be NULL; the filter takes a reference of its own */
	const struct tlsproxy_ops *ops;
	void *ctx;
	const struct tlsproxy_flow *flow; /* outlives the filter */
	bool tls;			  /* upstream certificate verified for this name */
	bool has_sni;
	struct name sni;
	bool judge_each;	    /* ask judge_http for every request */
	bool guest_h2, upstream_h2; /* the protocol of each side: HTTP/2, else HTTP/1 */
	bool unverified;    /* with tls: it was not, as the user wished; no secret goes in */
	bool keep_upstream; /* HTTP/1: it is not asked to close when the guest is to */
	/* With upstream_h2: what http_filter_part() gave for this connection; taken over in any case. */
	struct http_side *upstream;
};
must_check int http_filter_new(const struct http_filter_config *cfg, struct http_filter **ret);
void http_filter_free(struct http_filter *f);
/* From the next request on; those under way keep what they began with. */
void http_filter_secrets(struct http_filter *f, struct secret_set *secrets);

/*
 * Consume up to n bytes; append what is to be sent to the two buffers. Stops
 * early (consumed < n) when a buffer is full (its cap) or a request has to wait
 * for the response before it (the filter never has more HTTP/1 requests open than
 * HTTP_MAX_PIPELINE); call again when there is room, with n == 0 if nothing is new:
 * either call tries what waits on both sides.
 */
#define HTTP_MAX_PIPELINE 32
must_check enum http_state http_from_guest(struct http_filter *f, const uint8_t *p, size_t n,
					   size_t *ret_consumed, struct buf *to_upstream,
					   struct buf *to_guest);
must_check enum http_state http_from_upstream(struct http_filter *f, const uint8_t *p, size_t n,
					      size_t *ret_consumed, struct buf *to_upstream,
					      struct buf *to_guest);
must_check enum http_state http_guest_eof(struct http_filter *f, struct buf *to_upstream,
					  struct buf *to_guest);
/* Upstream closed: a response without length ends here; an unfinished one aborts, an unanswered request gets 502. */
must_check enum http_state http_upstream_eof(struct http_filter *f, struct buf *to_upstream,
					     struct buf *to_guest);
/*
 * The upstream could not be reached or verified: the next request is read and
 * answered 502/504 with Proxy-Status error token (RFC 9209 2.3, e.g.
 * "tls_certificate_error") and detail; nothing is ever sent upstream.
 */
void http_filter_fail_upstream(struct http_filter *f, unsigned status, const char *error_token,
			       const char *detail);
/* The TLS name was denied by policy: the next request is answered 403 with this verdict. */
void http_filter_deny_all(struct http_filter *f, const struct tlsproxy_verdict *v);
/*
 * Each request under way, tunnels included, is judged again. With an HTTP/2 guest a
 * denied one is reset and reported, the others go on, and the answer is false. True:
 * one is denied and cannot be told from the connection; it is marked, its event comes
 * with http_filter_free(), and nothing may pass any more.
 */
#define HTTP_NOW_DENIED "no longer allowed: the policy has changed"
must_check bool http_filter_rejudge(struct http_filter *f, bool judge_each, struct buf *to_upstream,
				    struct buf *to_guest);
/*
 * HTTP2_TICK_S have passed (http_limits.h): streams of an HTTP/2 guest that stood still through
 * their peer's doing for minutes are reset and reported. Call again with n == 0 then.
 */
void http_filter_tick(struct http_filter *f, struct buf *to_upstream, struct buf *to_guest);
/* After HTTP_CONNECTED: the flow inside, and what was said of it. Lives as long as the filter. */
const struct tlsproxy_flow *http_filter_connected(const struct http_filter *f,
						  struct tlsproxy_verdict *ret);
/* There is work that waits for nothing but its turn: call again soon, with n == 0. */
bool http_filter_busy(const struct http_filter *f);
/* A request waits for a value that is still to come. */
bool http_filter_awaits(const struct http_filter *f);
/* What went over it made the connection a client's own: NTLM, Negotiate (RFC 4559). */
bool http_filter_bound(const struct http_filter *f);
/* Nothing is open: neither a request half read nor a response owed. */
bool http_filter_idle(const struct http_filter *f);
/* And the upstream would take another request: all it sent belonged to a response. */
bool http_filter_between(const struct http_filter *f);
/*
 * Between requests: the filter is over, and what an HTTP/2 upstream's side knows of its connection
 * goes to the next filter, or to http_side_free(). NULL with HTTP/1, where there is nothing to know.
 */
struct http_side *http_filter_part(struct http_filter *f);
void http_side_free(struct http_side *s); /* NULL: none */

#endif
