/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream: what came in and waits for the exchange, what goes out and waits for
 * the peer's window.
 *
 *   in    section ─► head ─► DATA ─► trailers ─► end      each waits behind the one before
 *   out   head ─► body, straight from the caller where a window is open, else kept ─► end
 *
 * Bytes that came in are held within the stream's window, which opens only as they
 * go on, so nothing here grows with what a peer sends. A stream that nghttp2
 * has closed stays while its exchange has not got all of it.
 *
 * Values of secrets pass through the client's streams, both ways: what is kept there
 * is overwritten when it goes.
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

/* Body bytes that wait in all connections of the process: for a window, and for the other side. */
static size_t all_out, all_in;

bool http2_crowded(void)
{
	return all_in + all_out >= HTTP2_BODIES_CROWD;
}

static void count_out(struct http2 *h, size_t more, size_t less)
{
	h->out_bytes += more - less;
	all_out += more - less;
}

/* A section waits no more. */
static void drop_block(struct http2 *h, struct http2_block *b)
{
	if (!b)
		return;
	h->waiting_bytes -= b->text.size + sizeof(*b);
	http2_block_free(b);
}

static void taken(struct http2_stream *st, size_t n)
{
	n = MIN(n, st->unconsumed);
	st->unconsumed -= n;
	all_in -= n;
	/* Also of a closed stream: the connection's window is meant then. */
	if (n && nghttp2_session_consume(st->h->session, st->id, n) < 0)
		st->h->over = HTTP_ABORT;
}

static void drop_in(struct http2_stream *st)
{
	drop_block(st->h, st->block);
	drop_block(st->h, st->trailers);
	st->block = st->trailers = NULL;
	buf_fini_wiped(&st->in);
	taken(st, st->unconsumed);
}

static void drop_out(struct http2_stream *st)
{
	count_out(st->h, 0, st->out.len);
	buf_fini_wiped(&st->out);
	st->direct = NULL;
	st->n_direct = 0;
	http2_block_free(st->out_trailers);
	st->out_trailers = NULL;
}

void http2_stream_free(struct http2_stream *st)
{
	drop_in(st);
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
	drop_in(st);
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

/* ---- in ------------------------------------------------------------------------------ */

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

/* Keeps bytes; outgrown storage is wiped where it may have held values. */
static int keep(struct http2_stream *st, struct buf *b, const uint8_t *p, size_t n)
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

/* What an exchange said to what it was given. */
static enum http_flow settle(struct http2_stream *st, enum http_flow flow)
{
	if (flow == HTTP_FLOW_ABORT)
		st->h->over = HTTP_ABORT;
	if (flow == HTTP_FLOW_REFUSED || flow == HTTP_FLOW_ABORT) {
		st->drop = true;
		st->head_waits = false;
		drop_in(st);
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
		taken(st, room);
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
		drop_block(h, b);
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
	drop_block(st->h, b);
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
	all_in += n;
	st->still = 0;
	if (st->drop || !st->x) {
		taken(st, st->unconsumed);
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
	if (st->x && !st->drop && passed < n && keep(st, &st->in, p + passed, n - passed) < 0)
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

/* ---- out --------------------------------------------------------------------------------- */

static size_t out_len(const struct http2_stream *st)
{
	return st->out.len + st->n_direct;
}

size_t http2_stream_room(const struct http2_stream *st)
{
	size_t cap = HTTP2_OUT_STREAM;

	if (st->closed || st->reset)
		return HTTP_SLICE; /* dropped */
	if (st->h->out_bytes >= HTTP2_OUT_ALL)
		cap = HTTP2_OUT_FLOOR;
	if (all_out >= HTTP2_OUT_PROCESS)
		cap = st->h->out_bytes < HTTP2_OUT_FLOOR ? HTTP2_OUT_FLOOR : HTTP2_OUT_LEAST;
	return cap - MIN(cap, st->out.len);
}

static void resume(struct http2_stream *st)
{
	/* Not deferred: it is about to be sent, or waits for a window. */
	int r = nghttp2_session_resume_data(st->h->session, st->id);

	if (r < 0 && r != NGHTTP2_ERR_INVALID_ARGUMENT)
		st->h->over = HTTP_ABORT;
}

int http2_stream_body(struct http2_stream *st, const uint8_t *p, size_t n)
{
	size_t left;
	int r = 0;

	if (st->closed || st->reset || n == 0)
		return 0;
	st->direct = p;
	st->n_direct = n;
	resume(st);
	http2_flush(st->h);
	/* Sending may have found that the stream is gone. */
	left = st->n_direct;
	st->direct = NULL;
	st->n_direct = 0;
	if (left)
		r = keep(st, &st->out, p + n - left, left);
	count_out(st->h, r < 0 ? 0 : left, 0);
	return r;
}

/* They go behind the last DATA, so until then they are kept. */
static int keep_trailers(struct http2_stream *st, const struct http_head *trailers)
{
	struct http2_fields w;
	int r;

	w.n = w.size = 0;
	r = http2_fields_head(&w, trailers, NULL);
	if (r < 0 || w.n == 0)
		return r;
	r = http2_block_new(&st->out_trailers);
	for (size_t i = 0; i < w.n && r == 0; i++)
		r = http2_block_add(st->out_trailers,
				    (struct http_text){ (char *)w.nv[i].name, w.nv[i].namelen },
				    (struct http_text){ (char *)w.nv[i].value, w.nv[i].valuelen },
				    w.nv[i].flags & NGHTTP2_NV_FLAG_NO_INDEX);
	return r == 0 && st->out_trailers->why ? -ENOBUFS : r;
}

int http2_stream_finish(struct http2_stream *st, const struct http_head *trailers)
{
	int r = 0;

	if (st->closed || st->reset || st->out_ended)
		return 0;
	/* END_STREAM went with the head: nothing may follow. */
	if (trailers && !st->out_whole)
		r = keep_trailers(st, trailers);
	if (r < 0)
		return r;
	st->out_ended = true;
	if (st->out_whole)
		return 0;
	resume(st);
	http2_flush(st->h);
	return 0;
}

static int submit_trailers(struct http2_stream *st)
{
	struct http2_block *b = st->out_trailers;
	struct http2_fields w;
	int r;

	w.n = w.size = 0;
	for (size_t i = 0; i < b->n; i++)
		http2_fields_add(&w, http2_block_name(b, i), http2_block_value(b, i),
				 b->slots[i].sensitive);
	r = nghttp2_submit_trailer(st->h->session, st->id, w.nv, w.n);
	http2_block_free(b);
	st->out_trailers = NULL;
	return r;
}

static ssize_t source_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
			   uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct http2_stream *st = source->ptr;
	size_t n = MIN(length, out_len(st));

	(void)buf;
	(void)user;
	if (n == 0 && !st->out_ended)
		return NGHTTP2_ERR_DEFERRED;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (!st->out_ended || n < out_len(st))
		return (ssize_t)n;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (st->out_trailers || st->malformed)
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	if (st->malformed) {
		st->reset = true;
		if (nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id,
					      NGHTTP2_PROTOCOL_ERROR) < 0)
			return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	if (st->out_trailers && submit_trailers(st) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return (ssize_t)n;
}

nghttp2_data_provider http2_stream_source(struct http2_stream *st)
{
	return (nghttp2_data_provider){ { .ptr = st }, source_read };
}

/* The first n bytes that wait, into the connection's buffer, which has room for them. */
int http2_stream_emit(struct http2_stream *st, size_t n)
{
	size_t kept = MIN(n, st->out.len), direct = n - kept;
	struct buf *out = st->h->side.out;
	int r;

	if (direct > st->n_direct)
		return -EPIPE; /* it was reset since */
	r = buf_append(out, buf_at(&st->out), kept);
	if (r == 0)
		r = buf_append(out, st->direct, direct);
	if (r < 0)
		return r;
	buf_consume(&st->out, kept);
	count_out(st->h, 0, kept);
	st->still = 0;
	if (st->out.len == 0)
		buf_fini_wiped(&st->out);
	if (direct)
		st->direct += direct;
	st->n_direct -= direct;
	return 0;
}
