/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A body as HTTP/1 frames it, handed on piece by piece as the other side has room.
 *
 *   LENGTH ───────────────┐
 *   CHUNKS ─► TRAILERS ───┼─► END ─► done
 *   CLOSE (the caller says when the connection ended)
 */
#include "tlsproxy/http1.h"

enum http_state http1_run(struct http_side *s, http1_step_fn *step, const uint8_t *p, size_t n,
			  size_t *ret_taken)
{
	struct http1_input in = { p, n };
	enum http1_step st;

	do {
		st = step(s, &in);
	} while (st == HTTP1_ON && !s->filter->over);
	*ret_taken = n - in.n;
	return st == HTTP1_ABORT ? HTTP_ABORT : st == HTTP1_CLOSE ? HTTP_CLOSE : HTTP_OK;
}

void http1_body_begin(struct http1_body *b, const struct http_framing *fr)
{
	b->chunks = (struct http_chunks){ 0 };
	b->left = fr->length;
	b->has_trailers = false;
	http_collect_init(&b->trailers, HTTP_COLLECT_TRAILERS);
	b->state = fr->body == HTTP_BODY_LENGTH	   ? HTTP1_B_LENGTH
		   : fr->body == HTTP_BODY_CHUNKED ? HTTP1_B_CHUNKS
		   : fr->body == HTTP_BODY_CLOSE   ? HTTP1_B_CLOSE
						   : HTTP1_B_END;
}

void http1_body_fini(struct http1_body *b)
{
	http_collect_fini(&b->trailers);
}

static enum http1_body_step after(enum http_flow fl)
{
	return fl == HTTP_FLOW_ON	 ? HTTP1_BODY_ON
	       : fl == HTTP_FLOW_WAIT	 ? HTTP1_BODY_WAIT
	       : fl == HTTP_FLOW_REFUSED ? HTTP1_BODY_REFUSED
					 : HTTP1_BODY_ABORT;
}

/* LENGTH and CLOSE. */
static enum http1_body_step step_plain(struct http1_body *b, const struct http1_sink *sink,
				       struct http_exchange *x, struct http1_input *in)
{
	size_t n = in->n ? MIN(in->n, sink->room(x)) : 0;
	const uint8_t *p = in->p;
	enum http_flow fl;

	if (b->state == HTTP1_B_LENGTH)
		n = (size_t)MIN((uint64_t)n, b->left);
	if (n == 0)
		return HTTP1_BODY_WAIT;
	fl = sink->body(x, p, n);
	if (fl != HTTP_FLOW_WAIT)
		http1_take(in, n);
	if (fl == HTTP_FLOW_ON && b->state == HTTP1_B_LENGTH) {
		b->left -= n;
		if (b->left == 0)
			b->state = HTTP1_B_END;
	}
	return after(fl);
}

static enum http1_body_step step_chunks(struct http1_body *b, const struct http1_sink *sink,
					struct http_exchange *x, struct http1_input *in,
					const char **ret_why)
{
	size_t n = in->n ? MIN(in->n, sink->room(x)) : 0, taken = 0, len = 0;
	const uint8_t *data = NULL;
	enum http_flow fl = HTTP_FLOW_ON;
	bool last = false;

	if (n == 0)
		return HTTP1_BODY_WAIT;
	if (http_chunks_feed(&b->chunks, in->p, n, &taken, &data, &len, &last, ret_why) < 0)
		return HTTP1_BODY_BAD;
	if (len)
		fl = sink->body(x, data, len);
	/* There was room for it: nobody has to wait. */
	assert(fl != HTTP_FLOW_WAIT);
	http1_take(in, taken);
	if (last)
		b->state = HTTP1_B_TRAILERS;
	return after(fl);
}

static enum http1_body_step step_trailers(struct http1_body *b, struct http1_input *in,
					  const char **ret_why)
{
	bool done = false;
	size_t taken = 0;

	if (in->n == 0)
		return HTTP1_BODY_WAIT;
	if (http_collect_feed(&b->trailers, in->p, in->n, &taken, &done, ret_why) < 0)
		return HTTP1_BODY_BAD;
	http1_take(in, taken);
	if (done) {
		b->state = HTTP1_B_END;
		b->has_trailers = !http_collect_empty(&b->trailers) && b->trailers.lines;
	}
	return HTTP1_BODY_ON;
}

static enum http1_body_step step_end(struct http1_body *b, const struct http1_sink *sink,
				     struct http_exchange *x, const char **ret_why)
{
	enum http1_body_step st;
	struct http_head h;

	if (b->has_trailers && http_head_trailers(&b->trailers, &h, ret_why) < 0)
		return HTTP1_BODY_BAD;
	st = after(sink->end(x, b->has_trailers ? &h : NULL));
	return st == HTTP1_BODY_ON ? HTTP1_BODY_DONE : st;
}

enum http1_body_step http1_body_step(struct http1_body *b, const struct http1_sink *sink,
				     struct http_exchange *x, struct http1_input *in,
				     const char **ret_why)
{
	switch (b->state) {
	case HTTP1_B_LENGTH:
	case HTTP1_B_CLOSE:
		return step_plain(b, sink, x, in);
	case HTTP1_B_CHUNKS:
		return step_chunks(b, sink, x, in, ret_why);
	case HTTP1_B_TRAILERS:
		return step_trailers(b, in, ret_why);
	case HTTP1_B_END:
		break;
	}
	return step_end(b, sink, x, ret_why);
}
