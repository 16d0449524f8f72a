/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What came in on a stream and waits for its exchange: section, DATA, trailers, end, each
 * behind the one before. Bytes are held within the stream's window, which opens only as
 * they go on, so nothing here grows with what a peer sends.
 */
#include "tlsproxy/http2_internal.h"

int http2_stream_framing(struct http2_stream *st, bool bodyless, bool has_length, uint64_t length,
			 struct http_framing *ret, const char **ret_why)
{
	struct http_framing fr = { .has_length = has_length, .length = length };

	st->counted = has_length || bodyless;
	st->left = bodyless ? 0 : length;
	if (st->in_ended && st->left) {
		*ret_why = "less DATA than Content-Length says";
		return -EBADMSG;
	}
	if (!st->in_ended && !bodyless)
		fr.body = !has_length ? HTTP_BODY_CHUNKED
			  : length    ? HTTP_BODY_LENGTH
				      : HTTP_BODY_NONE;
	fr.open = !st->in_ended && fr.body == HTTP_BODY_NONE;
	*ret = fr;
	return 0;
}

/* What an exchange said to what it was given. */
static enum http_flow settle(struct http2_stream *st, enum http_flow flow)
{
	if (flow == HTTP_FLOW_ABORT)
		st->h->over = HTTP_ABORT;
	if (flow == HTTP_FLOW_REFUSED || flow == HTTP_FLOW_ABORT) {
		st->drop = true;
		st->head_waits = false;
		http2_stream_drop_in(st);
	}
	return flow;
}

/* As much of p as is taken now. */
static enum http_flow pass(struct http2_stream *st, const uint8_t *p, size_t n, size_t *ret_passed)
{
	enum http_flow flow = HTTP_FLOW_ON;
	size_t done = 0;

	while (done < n && flow == HTTP_FLOW_ON && st->x) {
		size_t room = MIN(n - done, st->h->role->room(st->x));

		if (room == 0)
			flow = HTTP_FLOW_WAIT;
		else
			flow = st->h->role->body(st->x, p + done, room);
		if (flow != HTTP_FLOW_ON)
			break;
		done += room;
		http2_stream_taken(st, room);
	}
	*ret_passed = done;
	return settle(st, flow);
}

/* What is handed on is out of the stream's hands meanwhile: its exchange may end. */
static enum http_flow deliver_body(struct http2_stream *st)
{
	struct buf in = st->in;
	enum http_flow flow;
	size_t passed = 0;

	if (in.len == 0)
		return HTTP_FLOW_ON;
	buf_init(&st->in, in.cap);
	flow = pass(st, buf_at(&in), in.len, &passed);
	buf_consume(&in, passed);
	if (in.len && st->x && !st->drop)
		st->in = in;
	else
		buf_fini_wiped(&in);
	return flow;
}

/* HTTP/1 has trailers behind chunks only (RFC 9112 7.1.2): what has a length there cannot have them. */
static bool trailers_are_lost(const struct http2_stream *st, const char **ret_why)
{
	const struct http_filter_config *cfg = &st->h->side.filter->cfg;

	*ret_why = "trailers behind a Content-Length, which HTTP/1 on the other side cannot carry";
	return !(st->h->server ? cfg->upstream_h2 : cfg->guest_h2) && st->framing.has_length;
}

static enum http_flow deliver_end(struct http2_stream *st)
{
	struct http2_block *b = st->trailers;
	struct http2 *h = st->h;
	const char *why = NULL;
	struct http_head head;
	enum http_flow flow;

	if (!st->x || !st->in_ended || st->in_told)
		return HTTP_FLOW_ON;
	if (b && (trailers_are_lost(st, &why) || http2_block_trailers(b, &head, &why) < 0)) {
		h->role->malformed(st, 400, why);
		return HTTP_FLOW_REFUSED;
	}
	st->trailers = NULL;
	/* Before it is told, as the exchange may be over with it. */
	st->in_told = true;
	flow = settle(st, h->role->end(st->x, b ? &head : NULL));
	h->served |= flow == HTTP_FLOW_ON;
	if (flow == HTTP_FLOW_WAIT) {
		st->in_told = false;
		st->trailers = b;
	} else {
		http2_drop_block(h, b);
	}
	return flow;
}

static enum http_flow deliver_head(struct http2_stream *st)
{
	struct http2_block *b = st->block;
	enum http_flow flow;

	st->block = NULL;
	flow = settle(st, st->h->role->head(st, b));
	if (flow == HTTP_FLOW_WAIT && !st->drop) {
		st->block = b;
		return flow;
	}
	st->head_waits = false;
	http2_drop_block(st->h, b);
	return flow;
}

enum http_flow http2_stream_deliver(struct http2_stream *st)
{
	enum http_flow flow = HTTP_FLOW_ON;

	if (st->head_waits)
		flow = deliver_head(st);
	if (flow == HTTP_FLOW_ON && !st->drop)
		flow = deliver_body(st);
	if (flow == HTTP_FLOW_ON && !st->drop)
		flow = deliver_end(st);
	return flow;
}

/* The connection's block becomes the stream's. */
static struct http2_block *steal(struct http2_stream *st)
{
	struct http2_block *b = st->h->block;

	st->h->block = NULL;
	st->h->waiting_bytes += b->text.size + sizeof(*b);
	return b;
}

static void first_section(struct http2_stream *st)
{
	enum http_flow flow = settle(st, st->h->role->head(st, st->h->block));

	if (flow != HTTP_FLOW_WAIT || st->drop)
		return;
	st->block = steal(st);
	st->head_waits = true;
	if (st->h->waiting_bytes <= HTTP2_WAITING_MAX)
		return;
	st->h->role->gone(st, NGHTTP2_REFUSED_STREAM);
	http2_stream_reset(st, NGHTTP2_REFUSED_STREAM);
}

void http2_stream_section(struct http2_stream *st, bool end)
{
	if (st->drop)
		return;
	if (st->final && !end) {
		st->h->role->malformed(st, 400, "a second field section that ends nothing");
		return;
	}
	if (st->final && st->counted && st->left) {
		st->h->role->malformed(st, 400, "less DATA than Content-Length says");
		return;
	}
	st->in_ended = end;
	if (st->final && st->h->block->size > HTTP_TRAILERS_MAX) {
		st->h->role->malformed(st, 400, "too many trailer fields");
		return;
	}
	if (!st->final)
		first_section(st);
	else
		st->trailers = steal(st);
	if (!st->drop)
		http2_stream_deliver(st);
}

/*
 * The rest of a request that has its answer. RFC 9113 8.1 has RST_STREAM(NO_ERROR) for
 * it, but many clients take that for a failure while they send, and stop by themselves
 * once they have read the answer: it comes only after what may have been on its way.
 */
static void drop_late(struct http2_stream *st, size_t n)
{
	if (!st->h->server || !st->out_done)
		return;
	st->late += n;
	if (st->late > HTTP2_LATE_MAX)
		http2_stream_reset(st, NGHTTP2_NO_ERROR);
}

void http2_stream_data(struct http2_stream *st, const uint8_t *p, size_t n)
{
	size_t passed = 0;

	st->unconsumed += n;
	http2_count_in(n, 0);
	st->still = 0;
	if (st->drop || !st->x) {
		http2_stream_taken(st, st->unconsumed);
		drop_late(st, n);
		return;
	}
	if (!st->final) {
		st->h->role->malformed(st, 400, "DATA before a final head");
		return;
	}
	if (st->counted && n > st->left) {
		st->h->role->malformed(st, 400, "more DATA than Content-Length says");
		return;
	}
	st->left -= st->counted ? n : 0;
	if (!st->head_waits && st->in.len == 0)
		pass(st, p, n, &passed);
	if (st->x && !st->drop && passed < n &&
	    http2_stream_keep(st, &st->in, p + passed, n - passed) < 0)
		st->h->over = HTTP_ABORT;
}

void http2_stream_end(struct http2_stream *st)
{
	st->in_ended = true;
	if (st->drop || !st->x)
		return;
	if (!st->final || (st->counted && st->left)) {
		st->h->role->malformed(st, 400,
				       st->final ? "less DATA than Content-Length says"
						 : "the stream ended before a final head");
		return;
	}
	http2_stream_deliver(st);
}
