/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nghttp2 read, on its way into streams: its callbacks. None may make it send; what
 * they cause is queued, and written by the call that fed it (http2_session.c).
 */
#include "tlsproxy/http2_internal.h"

static struct http2_stream *stream_of(struct http2 *h, int32_t id)
{
	return nghttp2_session_get_stream_user_data(h->session, id);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
	struct http2 *h = user;

	(void)session;
	/* An answer to us is no burden. */
	if (h->pinged && hd->type == NGHTTP2_PING && (hd->flags & NGHTTP2_FLAG_ACK))
		return 0;
	if (!http2_budget_frame(&h->budget, hd))
		http2_terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
	return 0;
}

/* Frames of unknown types are ignored (5.5), but counted: nghttp2 has to be asked for them. */
static int on_extension(nghttp2_session *session, void **payload, const nghttp2_frame_hd *hd,
			void *user)
{
	(void)session;
	(void)payload;
	(void)hd;
	(void)user;
	return NGHTTP2_ERR_CANCEL;
}

static int on_extension_chunk(nghttp2_session *session, const nghttp2_frame_hd *hd,
			      const uint8_t *p, size_t n, void *user)
{
	(void)session;
	(void)hd;
	(void)p;
	(void)n;
	(void)user;
	return NGHTTP2_ERR_CANCEL;
}

static int begin_block(struct http2 *h)
{
	if (!h->block)
		return http2_block_new(&h->block);
	h->block->n = h->block->size = 0;
	h->block->why = NULL;
	if (h->wiped)
		buf_fini_wiped(&h->block->text);
	else
		buf_reset(&h->block->text);
	return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	static const nghttp2_extpri fair = { NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1 };
	struct http2 *h = user;
	struct http2_stream *st;

	if (frame->hd.type != NGHTTP2_HEADERS) {
		/* PUSH_PROMISE, which was switched off (6.6) */
		http2_terminate(h, NGHTTP2_PROTOCOL_ERROR);
		return 0;
	}
	if (begin_block(h) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	/* It is for a stream. */
	http2_budget_earn(&h->budget, HTTP2_FRAMES_PER_STREAM);
	if (!h->server || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	st = http2_stream_new(h, frame->hd.stream_id);
	if (!st)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	http2_budget_earn(&h->budget, HTTP2_FRAMES_PER_STREAM);
	nghttp2_session_set_stream_user_data(session, st->id, st);
	/* Streams take turns; what a client thinks of their order is not looked at. */
	if (nghttp2_session_change_extpri_stream_priority(session, st->id, &fair, 1) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
		     nghttp2_rcbuf *value, uint8_t flags, void *user)
{
	nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);
	struct http2 *h = user;

	(void)session;
	if (h->dead || frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	if (http2_block_add(h->block, (struct http_text){ (char *)n.base, n.len },
			    (struct http_text){ (char *)v.base, v.len },
			    flags & NGHTTP2_NV_FLAG_NO_INDEX) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
		   void *user)
{
	struct http2 *h = user;
	struct http2_stream *st = stream_of(h, id);

	(void)flags;
	http2_budget_earn(&h->budget, HTTP2_FRAMES_PER_DATA);
	if (st && !h->dead)
		http2_stream_data(st, p, n);
	else if (nghttp2_session_consume(session, id, n) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

/* A request that is given up: before it got anything, or behind the head of its response. */
static void reset_by_peer(struct http2 *h, const struct http2_stream *st)
{
	bool paid = true;

	if (h->server)
		paid = st && st->out_begun ? http2_budget_spend(&h->budget, HTTP2_FRAMES_PER_CUT)
					   : http2_budget_reset(&h->budget);
	if (!paid)
		http2_terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void data_frame(struct http2 *h, const nghttp2_frame *frame, struct http2_stream *st)
{
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	/* Nothing but padding */
	if (!end && frame->hd.length && frame->hd.length == frame->data.padlen &&
	    !http2_budget_spend(&h->budget, 1))
		http2_terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
	if (end && st)
		http2_stream_end(st);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct http2 *h = user;
	struct http2_stream *st = frame->hd.stream_id ? stream_of(h, frame->hd.stream_id) : NULL;

	(void)session;
	if (h->dead)
		return 0;
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		if (st)
			http2_stream_section(st, frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
		break;
	case NGHTTP2_DATA:
		data_frame(h, frame, st);
		break;
	case NGHTTP2_RST_STREAM:
		reset_by_peer(h, st);
		break;
	case NGHTTP2_GOAWAY:
		h->draining = true;
		break;
	case NGHTTP2_PING:
		if (frame->hd.flags & NGHTTP2_FLAG_ACK)
			h->pinged = false;
		else
			http_side_pinged(&h->side);
		break;
	default:
		break;
	}
	h->role->frame(h, frame);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct http2 *h = user;
	struct http2_stream *st = nghttp2_session_get_stream_user_data(session, id);

	h->disturbed |= code != NGHTTP2_NO_ERROR;
	if (!st)
		return 0;
	st->closed = true;
	st->code = code;
	h->reap = true;
	return 0;
}

void http2_input_callbacks(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_unpack_extension_callback(cb, on_extension);
	nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(cb, on_extension_chunk);
}
