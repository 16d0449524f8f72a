/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection as a side of a flow. Server and client differ in how a message begins and in
 * what its end means, which their roles say; what is between is the same for both.
 */
#include "tlsproxy/http2_internal.h"

static struct http2_stream *stream_of(const struct http_side *s, const struct http_exchange *x)
{
	return http2_of(s)->role->stream(x);
}

static bool ready(const struct http_side *s, const struct http_exchange *x)
{
	const struct http2 *h = http2_of(s);

	(void)x;
	return h->mem.used < HTTP2_MEM_SOFT && h->role->ready(h);
}

static int head(struct http_side *s, struct http_exchange *x, const struct http_head *h,
		const struct http_framing *fr)
{
	return http2_of(s)->role->write_head(http2_of(s), x, h, fr);
}

static size_t room(const struct http_side *s, const struct http_exchange *x)
{
	const struct http2_stream *st = stream_of(s, x);

	return st ? http2_stream_room(st) : HTTP_SLICE;
}

static int body(struct http_side *s, struct http_exchange *x, const uint8_t *p, size_t n)
{
	struct http2_stream *st = stream_of(s, x);

	return st ? http2_stream_body(st, p, n) : 0;
}

static int end(struct http_side *s, struct http_exchange *x, const struct http_head *trailers)
{
	struct http2_stream *st = stream_of(s, x);

	return st ? http2_stream_finish(st, trailers) : 0;
}

static void reset(struct http_side *s, struct http_exchange *x)
{
	struct http2_stream *st = stream_of(s, x);

	if (!st)
		return;
	http2_stream_reset(st, st->h->role->reset_code(st, http_exchange_code(x)));
	http2_flush(st->h);
}

/* Windows are given back as exchanges take bytes (http2_stream_in.c). */
static void taken(struct http_side *s, struct http_exchange *x, size_t n)
{
	(void)s;
	(void)x;
	(void)n;
}

static void forget(struct http_side *s, struct http_exchange *x)
{
	struct http2_stream *st = stream_of(s, x);
	const struct http2_role *role = http2_of(s)->role;

	if (!st)
		return;
	role->set_stream(x, NULL);
	if (role->left)
		role->left(st);
	http2_stream_detach(st);
	if (st->closed)
		st->h->reap = true;
}

const struct http_side_ops http2_side_ops = {
	.feed = http2_feed,
	.eof = http2_eof,
	.pump = http2_pump,
	.idle = http2_idle,
	.drain = http2_drain,
	.tick = http2_tick,
	.ping = http2_ping,
	.free = http2_free,
	.ready = ready,
	.head = head,
	.room = room,
	.body = body,
	.end = end,
	.reset = reset,
	.taken = taken,
	.forget = forget,
};
