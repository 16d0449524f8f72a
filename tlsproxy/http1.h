/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 on either side of a flow (RFC 9112), shared by its files.
 *
 *   http1_guest.c     requests read, responses written in their order
 *   http1_upstream.c  requests written, responses read
 *   http1_body.c      a body on its way in, for both
 *   http1_write.c     heads, chunks and trailers on their way out
 *
 * A side takes steps until one has to wait: for bytes, for room, for its turn.
 */
#ifndef WEIR_TLSPROXY_HTTP1_H
#define WEIR_TLSPROXY_HTTP1_H

#include "tlsproxy/http_internal.h"

/* What one step did. */
enum http1_step {
	HTTP1_WAIT = 0,
	HTTP1_ON = 1,
	HTTP1_CLOSE = 2,
	HTTP1_ABORT = 3,
};

struct http1_input {
	const uint8_t *p;
	size_t n;
};
static inline void http1_take(struct http1_input *in, size_t n)
{
	if (n) /* p may be NULL: nothing new, but room */
		in->p += n;
	in->n -= n;
}

/* Steps until one waits, or the filter is over. */
typedef enum http1_step http1_step_fn(struct http_side *s, struct http1_input *in);
enum http_state http1_run(struct http_side *s, http1_step_fn *step, const uint8_t *p, size_t n,
			  size_t *ret_taken);

/* ---- a body on its way in ---------------------------------------------------------- */

/* Where it goes: the request's half of an exchange, or the response's. */
struct http1_sink {
	size_t (*room)(const struct http_exchange *x);
	enum http_flow (*body)(struct http_exchange *x, const uint8_t *p, size_t n);
	enum http_flow (*end)(struct http_exchange *x, const struct http_head *trailers);
};

enum http1_body_state {
	HTTP1_B_LENGTH = 0,
	HTTP1_B_CHUNKS = 1,
	HTTP1_B_TRAILERS = 2,
	HTTP1_B_CLOSE = 3, /* as long as the connection lasts */
	HTTP1_B_END = 4,   /* all was read; its end waits for room */
};
struct http1_body {
	enum http1_body_state state;
	struct http_chunks chunks;
	uint64_t left;
	struct http_collect trailers;
	bool has_trailers;
};
void http1_body_begin(struct http1_body *b, const struct http_framing *fr);
void http1_body_fini(struct http1_body *b);

enum http1_body_step {
	HTTP1_BODY_WAIT = 0,
	HTTP1_BODY_ON = 1,
	HTTP1_BODY_DONE = 2,	/* the end was passed on: the exchange may be gone */
	HTTP1_BODY_REFUSED = 3, /* the exchange is answered here, or gone */
	HTTP1_BODY_BAD = 4,	/* *ret_why */
	HTTP1_BODY_ABORT = 5,
};
must_check enum http1_body_step http1_body_step(struct http1_body *b, const struct http1_sink *sink,
						struct http_exchange *x, struct http1_input *in,
						const char **ret_why);

/* ---- writing -------------------------------------------------------------------------- */

/* All: 0, -ENOBUFS, -ENOMEM; nothing was written then. */
must_check int http1_write_request(const struct http_head *h, const struct http_exchange *x,
				   const struct http_framing *fr, struct buf *out);
/* Interim responses (1xx) too: without framing, keep and chunked are not looked at. */
must_check int http1_write_response(const struct http_head *h, const struct http_exchange *x,
				    const struct http_framing *fr, bool keep, bool chunked,
				    struct buf *out);
must_check int http1_write_body(bool chunked, const uint8_t *p, size_t n, struct buf *out);
/* The last chunk; trailers may be NULL. */
must_check int http1_write_last(const struct http_head *trailers, struct buf *out);
/* How many body bytes fit. */
size_t http1_body_fits(const struct buf *out);
bool http1_head_fits(const struct http_exchange *x, const struct buf *out);

#endif
