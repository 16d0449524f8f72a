/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream, from its beginning to its end, and what both its directions use.
 *
 *   in    section ─► head ─► DATA ─► trailers ─► end      http2_stream_in.c
 *   out   head ─► body ─► trailers ─► end                 http2_stream_out.c
 *
 * A stream that nghttp2 has closed stays while its exchange has not got all of it. Values
 * of secrets pass through the client's streams, both ways: what is kept there is
 * overwritten when it goes.
 */
#include "tlsproxy/http2_internal.h"

/* ---- life ---------------------------------------------------------------------------- */

struct http2_stream *http2_stream_new(struct http2 *h, int32_t id)
{
	struct http2_stream *st = calloc(1, sizeof(*st));

	if (!st)
		return NULL;
	st->h = h;
	st->id = id;
	buf_init(&st->in, HTTP2_WINDOW_STREAM);
	buf_init(&st->out, HTTP2_OUT_STREAM);
	list_add_tail(&h->streams, &st->node);
	h->n_streams++;
	return st;
}

void http2_drop_block(struct http2 *h, struct http2_block *b)
{
	if (!b)
		return;
	h->waiting_bytes -= b->text.size + sizeof(*b);
	http2_block_free(b);
}

void http2_stream_taken(struct http2_stream *st, size_t n)
{
	n = MIN(n, st->unconsumed);
	st->unconsumed -= n;
	http2_count_in(0, n);
	/* Also of a closed stream: the connection's window is meant then. */
	if (n && nghttp2_session_consume(st->h->session, st->id, n) < 0)
		st->h->over = HTTP_ABORT;
}

void http2_stream_drop_in(struct http2_stream *st)
{
	http2_drop_block(st->h, st->block);
	http2_drop_block(st->h, st->trailers);
	st->block = st->trailers = NULL;
	buf_fini_wiped(&st->in);
	http2_stream_taken(st, st->unconsumed);
}

static void drop_out(struct http2_stream *st)
{
	http2_count_out(st->h, 0, st->out.len);
	buf_fini_wiped(&st->out);
	st->direct = NULL;
	st->n_direct = 0;
	http2_block_free(st->out_trailers);
	st->out_trailers = NULL;
}

void http2_stream_free(struct http2_stream *st)
{
	http2_stream_drop_in(st);
	drop_out(st);
	list_del(&st->node);
	st->h->n_streams--;
	free(st);
}

struct http2_stream *http2_stream_find(struct http2 *h, int32_t id)
{
	list_for_each (it, &h->streams) {
		struct http2_stream *st = container_of(it, struct http2_stream, node);

		if (st->id == id)
			return st;
	}
	return NULL;
}

void http2_stream_detach(struct http2_stream *st)
{
	st->x = NULL;
	st->drop = true;
	st->head_waits = false;
	http2_stream_drop_in(st);
}

void http2_stream_reset(struct http2_stream *st, uint32_t code)
{
	if (st->closed || st->reset)
		return;
	st->reset = true;
	drop_out(st);
	if (nghttp2_submit_rst_stream(st->h->session, NGHTTP2_FLAG_NONE, st->id, code) < 0)
		st->h->over = HTTP_ABORT;
}

int http2_stream_keep(const struct http2_stream *st, struct buf *b, const uint8_t *p, size_t n)
{
	struct buf bigger = BUF_INIT(b->cap);
	uint8_t *at;
	int r;

	if (!st->h->wiped || b->size - b->off >= b->len + n)
		return buf_append(b, p, n);
	r = buf_reserve(&bigger, MIN(b->cap, MAX(2 * b->len, b->len + n)), &at);
	if (r == 0)
		r = buf_append(&bigger, buf_at(b), b->len);
	if (r == 0)
		r = buf_append(&bigger, p, n);
	if (r < 0) {
		buf_fini_wiped(&bigger);
		return r;
	}
	buf_fini_wiped(b);
	*b = bigger;
	return 0;
}
