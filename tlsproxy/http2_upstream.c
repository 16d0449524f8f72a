/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream's side in HTTP/2: we are the client, one stream for each exchange.
 *
 * A stream that the upstream resets takes its code along to the guest. After GOAWAY
 * what it did not process fails so that the guest may send it again, the rest goes on,
 * and the guest is told to open another connection. A connection that ends without a word
 * leaves open what became of its requests: those that may be repeated whatever became of
 * them, on a connection that had served others, are given back to be sent again, as the
 * guest would do without us; the others get 502. Pushed streams were switched off; one that
 * comes ends the connection.
 *
 * Once the guest is gone the connection may serve another one's (upstream_pool.c), with the
 * state both ends have of it: settings, header tables, windows, the number of the next stream.
 *
 * The upstream is hostile too: a reply that breaks the rules of messages fails.
 */
#include "tlsproxy/http2_internal.h"

/* ---- responses --------------------------------------------------------------------------- */

/* The exchange fails. code: with what its upstream reset the stream, if that is why. */
static void fail(struct http2_stream *st, const char *token, const char *why, uint32_t code,
		 bool retry)
{
	struct http_exchange *x = st->x;

	if (!x)
		return;
	http2_stream_detach(st);
	http_exchange_set_upstream(x, NULL);
	/* All of the response was passed on: only the request's rest has nowhere to go. */
	if (st->in_told)
		return;
	http_exchange_set_code(x, code);
	http_response_fail(x, token, why, retry);
}

static void malformed(struct http2_stream *st, unsigned status, const char *why)
{
	(void)status;
	fail(st, "http_protocol_error", why, NGHTTP2_NO_ERROR, false);
	http2_stream_reset(st, NGHTTP2_PROTOCOL_ERROR);
}

static enum http_flow refuse(struct http2_stream *st, const char *why)
{
	malformed(st, 502, why);
	return HTTP_FLOW_REFUSED;
}

static int framing(struct http2_stream *st, const struct http_head *h, struct http_framing *fr,
		   const char **ret_why)
{
	bool head_request = st->x->is_head;
	int r = http_framing_response(h, head_request, fr, ret_why);

	if (r < 0)
		return r;
	return http2_stream_framing(st, head_request || h->status == 204 || h->status == 304,
				    fr->has_length, fr->length, fr, ret_why);
}

static enum http_flow interim(struct http2_stream *st, struct http_head *h)
{
	struct http_framing none = { 0 };
	enum http_flow flow;

	if (st->in_ended)
		return refuse(st, "the stream ended with an interim response");
	flow = http_response_head(st->x, h, &none);
	/* The next section may be here any time: one that is only informational is not kept. */
	return flow == HTTP_FLOW_WAIT ? HTTP_FLOW_ON : flow;
}

static enum http_flow head(struct http2_stream *st, struct http2_block *b)
{
	const char *why = NULL;
	struct http_framing fr;
	struct http_head h;

	if (!st->x)
		return HTTP_FLOW_REFUSED;
	if (http2_block_response(b, &h, &why) < 0)
		return refuse(st, why);
	if (h.status < 200)
		return interim(st, &h);
	st->final = true;
	if (!st->framed && framing(st, &h, &st->framing, &why) < 0)
		return refuse(st, why);
	st->framed = true;
	fr = st->framing;
	return http_response_head(st->x, &h, &fr);
}

/* RFC 9110 9.2.1, 9.2.2: asked twice it is asked once. Nothing of an answer is here. */
static bool may_be_repeated(const struct http2_stream *st)
{
	static const char *const safe[] = { "GET", "HEAD", "OPTIONS", "TRACE" };

	if (!st->x || !st->h->served || !st->out_whole || st->final || st->x->interim ||
	    st->x->methods.n)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(safe); i++)
		if (str_eq(st->x->method, safe[i]))
			return true;
	return false;
}

static void gone(struct http2_stream *st, uint32_t code)
{
	bool retry = code == NGHTTP2_REFUSED_STREAM;

	if (st->h->dead)
		fail(st, "http_protocol_error", "the upstream broke the rules of HTTP/2",
		     NGHTTP2_NO_ERROR, retry);
	else if (st->h->ended)
		fail(st, "connection_terminated",
		     st->final ? "the upstream closed the connection in the midst of its answer"
			       : "the upstream closed the connection without an answer",
		     NGHTTP2_NO_ERROR, retry || may_be_repeated(st));
	else if (retry)
		fail(st, "connection_terminated", "the upstream refused the request unprocessed",
		     code, true);
	else
		fail(st, "http_response_incomplete", "the upstream reset the stream", code, false);
}

static void frame(struct http2 *h, const nghttp2_frame *fr)
{
	if (fr->hd.type == NGHTTP2_GOAWAY)
		http_upstream_leaves(h->side.filter);
	if (fr->hd.type != NGHTTP2_SETTINGS || (fr->hd.flags & NGHTTP2_FLAG_ACK))
		return;
	h->settled = true;
	if (!h->connect && nghttp2_session_get_remote_settings(
				   h->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1) {
		h->connect = true;
		http_upstream_connects(h->side.filter);
	}
}

/* ---- requests -------------------------------------------------------------------------------- */

static size_t open_streams(const struct http2 *h)
{
	size_t n = 0;

	list_for_each (it, &h->streams)
		n += !container_of(it, struct http2_stream, node)->closed;
	return n;
}

static bool ready(const struct http2 *h)
{
	uint32_t max = nghttp2_session_get_remote_settings(h->session,
							   NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

	return !h->draining && !h->dead && !h->ended &&
	       open_streams(h) < MIN(max, (uint32_t)HTTP2_STREAMS_MAX);
}

static void pseudo_fields(struct http2_fields *w, const struct http_head *h)
{
	bool connect = http_text_is(h->method, "CONNECT");

	http2_fields_add(w, http_text_of(":method"), h->method, false);
	if (h->protocol.len)
		http2_fields_add(w, http_text_of(":protocol"), h->protocol, false);
	if (!connect || h->protocol.len)
		http2_fields_add(w, http_text_of(":scheme"), h->scheme, false);
	http2_fields_add(w, http_text_of(":authority"), h->authority, false);
	if (!connect || h->protocol.len)
		http2_fields_add(w, http_text_of(":path"), h->target, h->target_sensitive);
}

static int request_head(struct http2 *h2, struct http_exchange *x, const struct http_head *h,
			const struct http_framing *fr)
{
	nghttp2_data_provider source;
	struct http2_stream *st;
	struct http2_fields w;
	int r;

	w.n = w.size = 0;
	pseudo_fields(&w, h);
	r = http2_fields_head(&w, h, fr);
	if (r == 0)
		r = http2_fields_fit(&w, h2);
	if (r < 0)
		return r;
	st = http2_stream_new(h2, -1);
	if (!st)
		return -ENOMEM;
	st->out_whole = fr->body == HTTP_BODY_NONE && !fr->open;
	source = http2_stream_source(st);
	st->id = nghttp2_submit_request(h2->session, NULL, w.nv, w.n,
					st->out_whole ? NULL : &source, st);
	if (st->id < 0) {
		http2_stream_free(st);
		return -ENOMEM;
	}
	h2->silent = false;
	st->out_begun = true;
	st->x = x;
	http_exchange_set_upstream(x, st);
	http2_flush(h2);
	return 0;
}

static uint32_t reset_code(struct http2_stream *st, uint32_t code)
{
	(void)st;
	return code ? code : NGHTTP2_CANCEL;
}

/* A request that is not sent to its end, or a reply nobody waits for. */
static void left(struct http2_stream *st)
{
	if (!st->out_ended || !st->in_told)
		http2_stream_reset(st, NGHTTP2_CANCEL);
}

static struct http2_stream *stream(const struct http_exchange *x)
{
	return http_exchange_upstream(x);
}

static const struct http2_role role = {
	.head = head,
	.body = http_response_body,
	.room = http_response_room,
	.end = http_response_end,
	.malformed = malformed,
	.gone = gone,
	.frame = frame,
	.ready = ready,
	.write_head = request_head,
	.reset_code = reset_code,
	.left = left,
	.stream = stream,
	.set_stream = http_exchange_set_upstream,
};

/* ---- between two guests ---------------------------------------------------------------------- */

bool http2_upstream_rests(const struct http_side *s)
{
	struct http2 *h = http2_of(s);

	return h->settled && !h->disturbed && !h->draining && !h->dead && !h->ended && !h->over &&
	       !h->pinged && list_empty(&h->streams) && !h->out_bytes && !h->waiting_bytes &&
	       !h->reader.n_header && !h->reader.left && !nghttp2_session_want_write(h->session) &&
	       nghttp2_session_get_next_stream_id(h->session) < HTTP2_STREAM_ID_LAST;
}

void http2_upstream_move(struct http_side *s, struct http_filter *f)
{
	struct http2 *h = http2_of(s);

	s->filter = f;
	s->out = NULL;
	http2_block_free(h->block);
	h->block = NULL;
	if (f && h->connect)
		http_upstream_connects(f);
}

int http2_upstream_new(struct http_filter *f, struct http_side **ret)
{
	struct http2 *h;
	int r = http2_new(f, false, &role, &h);

	if (r < 0)
		return r;
	/* In TLS it was agreed that it speaks HTTP/2. Else not a byte goes to whom no request may. */
	h->silent = !f->cfg.tls;
	*ret = &h->side;
	return 0;
}
