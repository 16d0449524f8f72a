/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP/2 connection over nghttp2, server or client.
 *
 *   feed ─► nghttp2 ─► callbacks ─► streams ─► exchanges
 *   pump ─► what waits in streams goes on; what nghttp2 has to say goes out
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

/* Of the process. */
static size_t n_connections;

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

/* ---- nghttp2 to us ----------------------------------------------------------------------- */

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

/* ---- us to the wire ---------------------------------------------------------------------- */

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
	n_connections--;
	free(h);
}

/* ---- a new one --------------------------------------------------------------------------------- */

static int make_callbacks(nghttp2_session_callbacks **ret)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&cb) < 0)
		return -ENOMEM;
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_unpack_extension_callback(cb, on_extension);
	nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(cb, on_extension_chunk);
	nghttp2_session_callbacks_set_send_callback(cb, on_send);
	nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
	nghttp2_session_callbacks_set_before_frame_send_callback(cb, before_send);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
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

/* What a stream's sender may make us hold from now on. */
static uint32_t stream_window(void)
{
	return n_connections > HTTP2_CROWD ? NGHTTP2_INITIAL_WINDOW_SIZE
					   : (uint32_t)HTTP2_WINDOW_STREAM;
}

static uint32_t connection_window(void)
{
	return n_connections > HTTP2_CROWD ? NGHTTP2_INITIAL_WINDOW_SIZE
					   : (uint32_t)HTTP2_WINDOW_CONNECTION;
}

static int set_connection_window(struct http2 *h, uint32_t size)
{
	return nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, (int32_t)size);
}

void http2_fit_windows(struct http2 *h, bool tick)
{
	bool narrow = http2_crowded() || (h->narrow && !tick);
	nghttp2_settings_entry entry = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
					 narrow ? (uint32_t)HTTP2_NARROW_STREAM : stream_window() };

	if (narrow == h->narrow || h->dead || h->ended || h->silent || h->over)
		return;
	h->narrow = narrow;
	if (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, &entry, 1) < 0 ||
	    set_connection_window(h, narrow ? (uint32_t)HTTP2_NARROW_CONNECTION
					    : connection_window()) < 0)
		h->over = HTTP_ABORT;
}

static int submit_settings(struct http2 *h)
{
	uint32_t window = stream_window();
	const nghttp2_settings_entry server[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, HTTP2_STREAMS_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEAD_MAX },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
	};
	const nghttp2_settings_entry client[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEAD_MAX },
	};
	int r = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, h->server ? server : client,
					h->server ? ARRAY_SIZE(server) : ARRAY_SIZE(client));

	if (r == 0)
		r = set_connection_window(h, connection_window());
	return r < 0 ? -ENOMEM : 0;
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
	return r < 0 ? -ENOMEM : submit_settings(h);
}

int http2_new(struct http_filter *f, bool server, const struct http2_role *role,
	      const struct http_side_ops *ops, struct http2 **ret)
{
	struct http2 *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	n_connections++;
	h->side = (struct http_side){ .ops = ops, .filter = f };
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
