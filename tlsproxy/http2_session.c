/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP/2 connection over nghttp2, server or client.
 *
 *   feed ─► nghttp2 ─► callbacks (http2_input.c) ─► streams ─► exchanges
 *   pump ─► what waits in streams goes on; what nghttp2 has to say goes out (http2_output.c)
 *
 * nghttp2 must not be called to send from its own callbacks, and calls of an exchange
 * may come from there (a refused request is answered at once): then they only queue,
 * and the outermost call writes. Streams are freed by it alone, so that none goes
 * while somebody up the stack holds it.
 *
 * nghttp2 checks frames, windows and stream states. Its checks of messages are
 * off: http2_block.c has them, and answers. What a peer may cost is in http2_budget.c;
 * input is taken in slices while there is room for the answers it may cause.
 */
#include "tlsproxy/http2_internal.h"

/* ---- ends ----------------------------------------------------------------------------- */

void http2_terminate(struct http2 *h, uint32_t code)
{
	if (h->dead)
		return;
	h->dead = true;
	if (nghttp2_session_terminate_session(h->session, code) < 0)
		h->over = HTTP_ABORT;
}

static void goaway(struct http2 *h)
{
	int32_t last = nghttp2_session_get_last_proc_stream_id(h->session);

	if (h->draining || h->dead)
		return;
	h->draining = true;
	if (nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) < 0)
		h->over = HTTP_ABORT;
}

/* The rest of a reply, all of which is here, may still wait for the guest. */
static bool waits_for_guest(const struct http2_stream *st)
{
	return !st->h->server && st->in_ended && st->code == NGHTTP2_NO_ERROR;
}

static void reap(struct http2 *h)
{
	h->reap = false;
	list_for_each_safe (it, tmp, &h->streams) {
		struct http2_stream *st = container_of(it, struct http2_stream, node);

		if (!st->closed)
			continue;
		if (st->x && !waits_for_guest(st))
			h->role->gone(st, st->code);
		if (!st->x)
			http2_stream_free(st);
	}
}

/* Nothing more comes or goes on this connection. */
static void give_up(struct http2 *h)
{
	list_for_each (it, &h->streams) {
		struct http2_stream *st = container_of(it, struct http2_stream, node);

		if (st->closed)
			continue;
		st->closed = true;
		st->code = h->dead ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_CANCEL;
		st->in_ended = st->in_ended && !h->dead;
	}
	reap(h);
	if (!h->server)
		http_upstream_leaves(h->side.filter);
}

void http2_flush(struct http2 *h)
{
	if (h->busy || !h->side.out || h->over || h->silent)
		return;
	h->busy = true;
	if (nghttp2_session_send(h->session) < 0)
		h->over = HTTP_ABORT;
	h->busy = false;
}

/* ---- the side's calls ------------------------------------------------------------------------ */

/* What waits goes on; a request that has to wait stops those behind it. */
static void deliver_all(struct http2 *h)
{
	bool blocked = false;

	list_for_each (it, &h->streams) {
		struct http2_stream *st = container_of(it, struct http2_stream, node);

		if (!st->x || (st->closed && !waits_for_guest(st)) || (blocked && st->head_waits))
			continue;
		http2_stream_deliver(st);
		blocked |= h->server && st->head_waits;
		if (h->over)
			return;
	}
}

/* Before the outermost call returns. */
static enum http_state leave(struct http2 *h)
{
	size_t before;

	do {
		before = h->side.out ? h->side.out->len : 0;
		if (!h->over)
			deliver_all(h);
		http2_fit_windows(h, false);
		http2_flush(h);
		if (h->reap)
			reap(h);
	} while (!h->over && h->side.out && h->side.out->len != before);
	if (!h->over && !nghttp2_session_want_read(h->session) &&
	    !nghttp2_session_want_write(h->session)) {
		/* With streams open it ends by itself only over what the peer did. */
		h->dead |= !list_empty(&h->streams);
		h->ended = true;
		give_up(h);
	}
	h->entered = false;
	if (h->over)
		return h->over;
	return h->ended && h->server ? HTTP_CLOSE : HTTP_OK;
}

enum http_state http2_feed(struct http_side *s, const uint8_t *p, size_t n, size_t *ret_taken)
{
	struct http2 *h = http2_of(s);
	size_t done = 0;

	*ret_taken = n;
	if (h->over)
		return h->over;
	if (h->entered) {
		*ret_taken = 0;
		return HTTP_OK;
	}
	h->entered = true;
	while (done < n && !h->over) {
		size_t slice = MIN(n - done, HTTP2_SLICE);

		http2_flush(h);
		/* A dead connection's input is dropped. */
		if (!h->dead && !h->ended && s->out->len && buf_room(s->out) < HTTP2_OUT_MIN)
			break;
		if (!h->dead && !h->ended)
			http2_read(h, p + done, slice);
		done += slice;
		http2_flush(h);
		if (h->reap)
			reap(h);
	}
	*ret_taken = done;
	return leave(h);
}

enum http_state http2_pump(struct http_side *s)
{
	struct http2 *h = http2_of(s);

	if (h->over || h->entered)
		return h->over;
	h->entered = true;
	return leave(h);
}

enum http_state http2_eof(struct http_side *s)
{
	struct http2 *h = http2_of(s);

	if (h->over)
		return h->over;
	h->entered = true;
	h->ended = true;
	give_up(h);
	h->entered = false;
	return h->over ? h->over : h->server ? HTTP_CLOSE : HTTP_OK;
}

bool http2_idle(const struct http_side *s)
{
	/* An answered request whose rest nobody waits for holds up nothing. */
	list_for_each (it, &http2_of(s)->streams) {
		const struct http2_stream *st = container_of(it, struct http2_stream, node);

		if (st->x || !st->out_done)
			return false;
	}
	return true;
}

void http2_drain(struct http_side *s)
{
	struct http2 *h = http2_of(s);

	goaway(h);
	if (!h->entered)
		http2_flush(h);
}

void http2_ping(struct http_side *s)
{
	struct http2 *h = http2_of(s);

	if (h->pinged || h->dead || h->ended || h->silent || list_empty(&h->streams))
		return;
	h->pinged = true;
	if (nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL) < 0)
		h->over = HTTP_ABORT;
	if (!h->entered)
		http2_flush(h);
}

void http2_free(struct http_side *s)
{
	struct http2 *h;

	if (!s)
		return;
	h = http2_of(s);
	list_for_each_safe (it, tmp, &h->streams)
		http2_stream_free(container_of(it, struct http2_stream, node));
	nghttp2_session_del(h->session);
	http2_block_free(h->block);
	http2_windows_end(h);
	free(h);
}

/* ---- a new one --------------------------------------------------------------------------------- */

static int make_callbacks(nghttp2_session_callbacks **ret)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&cb) < 0)
		return -ENOMEM;
	http2_input_callbacks(cb);
	http2_output_callbacks(cb);
	*ret = cb;
	return 0;
}

static int make_options(nghttp2_option **ret)
{
	nghttp2_option *o;

	if (nghttp2_option_new(&o) < 0)
		return -ENOMEM;
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_http_messaging(o, 1);
	nghttp2_option_set_no_closed_streams(o, 1);
	nghttp2_option_set_max_outbound_ack(o, HTTP2_ACKS_MAX);
	nghttp2_option_set_max_settings(o, HTTP2_SETTINGS_MAX);
	/* Counts some of them twice: http2_read.c has the limit. */
	nghttp2_option_set_max_continuations(o, 4 * HTTP2_CONTINUATIONS_MAX);
	nghttp2_option_set_max_deflate_dynamic_table_size(o, HTTP2_TABLE_MAX);
	nghttp2_option_set_max_send_header_block_length(o, 4 * HTTP_HEAD_MAX);
	for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= UINT8_MAX; type++)
		nghttp2_option_set_user_recv_extension_type(o, (uint8_t)type);
	*ret = o;
	return 0;
}

static int make_session(struct http2 *h)
{
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *option = NULL;
	int r = make_callbacks(&cb);

	if (r == 0)
		r = make_options(&option);
	if (r == 0)
		r = h->server
			    ? nghttp2_session_server_new3(&h->session, cb, h, option, &h->mem.table)
			    : nghttp2_session_client_new3(&h->session, cb, h, option, &h->mem.table);
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(cb);
	return r < 0 ? -ENOMEM : http2_windows_begin(h);
}

int http2_new(struct http_filter *f, bool server, const struct http2_role *role, struct http2 **ret)
{
	struct http2 *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->side = (struct http_side){ .ops = &http2_side_ops, .filter = f };
	h->role = role;
	h->server = server;
	h->wiped = !server;
	list_init(&h->streams);
	http2_mem_init(&h->mem, HTTP2_MEM_MAX);
	http2_budget_init(&h->budget);
	http2_reader_init(&h->reader, server);
	r = make_session(h);
	if (r < 0) {
		http2_free(&h->side);
		return r;
	}
	*ret = h;
	return 0;
}
