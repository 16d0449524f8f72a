/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nghttp2 sends, into the side's buffer as far as there is room, and what is learned
 * from what went out: its callbacks.
 */
#include "tlsproxy/http2_internal.h"

static struct http2_stream *stream_of(struct http2 *h, int32_t id)
{
	return nghttp2_session_get_stream_user_data(h->session, id);
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *p, size_t n, int flags, void *user)
{
	struct http2 *h = user;
	size_t room = buf_room(h->side.out);

	(void)session;
	(void)flags;
	n = MIN(n, room);
	if (n == 0)
		return NGHTTP2_ERR_WOULDBLOCK;
	if (buf_append(h->side.out, p, n) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	/* Its frame buffer is used again and again, and read no more up to here. */
	if (h->secret_frame)
		explicit_bzero((void *)(uintptr_t)p, n);
	return (ssize_t)n;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
			size_t n, nghttp2_data_source *source, void *user)
{
	struct http2 *h = user;
	size_t before = h->side.out->len;
	int r;

	(void)session;
	(void)frame;
	if (buf_room(h->side.out) < 9 + n)
		return NGHTTP2_ERR_WOULDBLOCK;
	r = buf_append(h->side.out, head, 9);
	if (r == 0)
		r = http2_stream_emit(source->ptr, n);
	if (r == 0)
		return 0;
	http_cut(h->side.out, before);
	return r == -EPIPE ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int before_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct http2 *h = user;

	(void)session;
	h->secret_frame = h->wiped && frame->hd.type == NGHTTP2_HEADERS;
	return 0;
}

/* All that will be said on the stream was said. */
static void end_sent(struct http2_stream *st)
{
	struct http2 *h = st->h;

	st->out_done = true;
	if (!h->server)
		return;
	if (st->in_ended)
		http2_budget_served(&h->budget);
}

static void reset_sent(struct http2 *h, const struct http2_stream *st, uint32_t code)
{
	/* A client resets what it has no use for; one that knows no stream was pushed it. */
	if (code == NGHTTP2_NO_ERROR || (st && (st->excused || !h->server)))
		return;
	if (!http2_budget_reset(&h->budget))
		http2_terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct http2 *h = user;
	struct http2_stream *st = frame->hd.stream_id ? stream_of(h, frame->hd.stream_id) : NULL;

	(void)session;
	h->secret_frame = false;
	if (frame->hd.type == NGHTTP2_RST_STREAM)
		reset_sent(h, st, frame->rst_stream.error_code);
	if (frame->hd.type == NGHTTP2_DATA)
		http2_budget_earn(&h->budget, HTTP2_FRAMES_PER_DATA);
	if (!st || (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS))
		return 0;
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		end_sent(st);
	return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error,
			     void *user)
{
	struct http2 *h = user;
	struct http2_stream *st;

	h->secret_frame = false;
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	st = http2_stream_find(h, frame->hd.stream_id);
	if (!st || st->closed)
		return 0;
	if (nghttp2_session_get_stream_user_data(session, st->id) == st) {
		http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR);
		return 0;
	}
	/* A request that never became a stream */
	st->closed = true;
	st->code = error == NGHTTP2_ERR_START_STREAM_NOT_ALLOWED || error == NGHTTP2_ERR_STREAM_CLOSING
			   ? NGHTTP2_REFUSED_STREAM
			   : NGHTTP2_INTERNAL_ERROR;
	h->reap = true;
	return 0;
}

void http2_output_callbacks(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_send_callback(cb, on_send);
	nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
	nghttp2_session_callbacks_set_before_frame_send_callback(cb, before_send);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
}
