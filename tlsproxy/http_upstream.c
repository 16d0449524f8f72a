/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream's side: responses, to the first exchange in the queue.
 *
 *   HEAD ─► READY ─┬─► LENGTH ─────────────┐
 *                  ├─► CHUNKS ─► TRAILERS ─┼─► HEAD, or the connection closes
 *                  ├─► CLOSE ──────────────┤
 *                  ├─► TUNNEL (101)        │
 *                  └───────────────────────┘
 *
 * As strict as the guest's side: an ambiguous response is 502 when nothing of
 * it was passed on, else the connection is cut so that the guest cannot take
 * a part for the whole. Values in replies become placeholders again.
 */
#include "tlsproxy/http_internal.h"

enum step { STEP_WAIT = 0, STEP_ON = 1, STEP_CLOSE = 2, STEP_ABORT = 3, STEP_TUNNEL = 4 };

struct input {
	const uint8_t *p;
	size_t n;
	struct buf *out;
};

static void take(struct input *in, size_t n)
{
	if (n) /* p may be NULL: nothing new, but room */
		in->p += n;
	in->n -= n;
}

/* ---- ends -------------------------------------------------------------------------------- */

static enum step bad_response(struct http_filter *f, const char *why)
{
	struct http_exchange *x = http_exchange_first(f);

	f->u = HTTP_U_STOP;
	if (x->response_begun) {
		x->detail = why;
		return STEP_ABORT;
	}
	http_refuse(f, x, TLSPROXY_HTTP_UPSTREAM_FAILED, 502, "http_protocol_error", why);
	return STEP_ON;
}

static enum step response_over(struct http_filter *f)
{
	struct http_exchange *x = http_exchange_first(f);

	x->response_done = true;
	f->u = HTTP_U_HEAD;
	http_collect_fini(&f->response_head);
	http_collect_init(&f->response_head, HTTP_COLLECT_RESPONSE);
	if (!f->response_keep || f->upstream_ended) {
		http_exchange_finish(f, x);
		f->u = HTTP_U_STOP;
		return STEP_CLOSE;
	}
	if (f->g == HTTP_G_SWITCH)
		f->g = HTTP_G_HEAD;
	http_exchange_settle(f, x);
	return STEP_ON;
}

/* ---- a head --------------------------------------------------------------------------------- */

static bool stays_open(const struct http_exchange *x, const struct http_head *h,
		       const struct http_framing *fr)
{
	bool upstream = !http_field_has_token(h, "Connection", "close") &&
			(h->minor == 1 || http_field_has_token(h, "Connection", "keep-alive"));

	if (!upstream || !x->keep || fr->body == HTTP_BODY_CLOSE)
		return false;
	/* Told to wait and answered at once: whether the body still comes is open. */
	if (x->expect && !x->request_done && !x->body_begun)
		return false;
	/* HTTP/1.0 has no chunks: the end of the connection is the end of the body. */
	return !(x->http10 && fr->body == HTTP_BODY_CHUNKED);
}

static enum step interim(struct http_filter *f, const struct http_head *h, struct buf *out)
{
	struct http_exchange *x = http_exchange_first(f);
	size_t before = out->len;

	if (++x->interim > HTTP_INTERIM_MAX)
		return bad_response(f, "too many interim responses");
	if (h->status == 100)
		x->expect = false;
	f->u = HTTP_U_HEAD;
	if (!x->http10 &&
	    http_write_response(f, h, x, &(struct http_framing){ 0 }, true, false, out) < 0) {
		http_cut(out, before);
		return bad_response(f, "an interim response that cannot be passed on");
	}
	http_collect_fini(&f->response_head);
	http_collect_init(&f->response_head, HTTP_COLLECT_RESPONSE);
	return STEP_ON;
}

static enum step switch_protocols(struct http_filter *f, const struct http_head *h, struct buf *out)
{
	struct http_exchange *x = http_exchange_first(f);
	size_t before = out->len;

	if (!x->websocket || !x->request_done || !http_field_has_token(h, "Upgrade", "websocket"))
		return bad_response(f, "101 that nobody asked for");
	if (http_write_response(f, h, x, &(struct http_framing){ 0 }, true, false, out) < 0) {
		http_cut(out, before);
		return bad_response(f, "a response head that cannot be passed on");
	}
	f->u = HTTP_U_TUNNEL;
	f->g = HTTP_G_TUNNEL;
	http_collect_fini(&f->response_head);
	/* The exchange stays current: what the tunnel shows is reported with it. */
	x->status = 101;
	x->response_begun = x->response_done = true;
	f->current = x;
	http_secret_tunnel(f);
	return STEP_TUNNEL;
}

static void begin_body(struct http_filter *f, const struct http_head *h, const struct http_framing *fr)
{
	if (f->n_secrets)
		secret_stream_back(&f->response_body, f->cfg.secrets);
	f->response_plain = f->n_secrets == 0 ||
			    (http_field_find(h, "Content-Encoding", &(struct http_text){ 0 }) &&
			     !http_field_has_token(h, "Content-Encoding", "identity"));
	f->response_left = fr->length;
	f->response_chunks = (struct http_chunks){ 0 };
	f->u = fr->body == HTTP_BODY_LENGTH    ? HTTP_U_LENGTH
	       : fr->body == HTTP_BODY_CHUNKED ? HTTP_U_CHUNKS
					       : HTTP_U_CLOSE;
	http_collect_fini(&f->response_head);
}

/*
 * The answer to a query that did not look like one: only now it is known what the
 * request was, and it is judged as that.
 */
static bool hidden_doh_denied(struct http_filter *f, struct http_exchange *x)
{
	struct tlsproxy_verdict v;

	x->doh = true;
	http_judge(f, x, &v);
	if (v.allow)
		return false;
	f->u = HTTP_U_STOP;
	x->verdict = v;
	http_refuse(f, x, TLSPROXY_HTTP_DENIED, 403, NULL,
		    "the response is a DNS message, and the request did not say so");
	return true;
}

static enum step final_response(struct http_filter *f, const struct http_head *h, struct buf *out)
{
	struct http_exchange *x = http_exchange_first(f);
	const char *why = NULL;
	struct http_framing fr;
	size_t before = out->len;

	if (http_framing_response(h, x->is_head, &fr, &why) < 0)
		return bad_response(f, why);
	if (!x->doh && http_doh_response(h) && hidden_doh_denied(f, x))
		return STEP_ON;
	f->response_keep = stays_open(x, h, &fr);
	f->response_chunked_out = fr.body == HTTP_BODY_CHUNKED && !x->http10;
	if (http_write_response(f, h, x, &fr, f->response_keep, f->response_chunked_out, out) < 0) {
		http_cut(out, before);
		return bad_response(f, "a response head that cannot be passed on");
	}
	x->response_begun = true;
	x->status = h->status;
	if (fr.body == HTTP_BODY_NONE)
		return response_over(f);
	begin_body(f, h, &fr);
	if (!f->upstream_ended)
		return STEP_ON;
	/* The head waited for room; meanwhile the connection ended, and all bytes were read. */
	return fr.body == HTTP_BODY_CLOSE ? response_over(f) : STEP_ABORT;
}

static enum step step_ready(struct http_filter *f, struct input *in)
{
	size_t need = f->response_head.bytes.len + 4 * HTTP_FIELDS_MAX + 512;
	const char *why = NULL;
	struct http_head h;

	if (in->out->len && buf_room(in->out) < need)
		return STEP_WAIT;
	if (http_head_response(&f->response_head, &h, &why) < 0)
		return bad_response(f, why);
	if (h.status == 101)
		return switch_protocols(f, &h, in->out);
	if (h.status < 200)
		return interim(f, &h, in->out);
	return final_response(f, &h, in->out);
}

static enum step step_head(struct http_filter *f, struct input *in)
{
	struct http_exchange *x = http_exchange_first(f);
	const char *why = NULL;
	bool done = false;
	size_t taken = 0;
	int r;

	if (in->n == 0 || (x && x->local))
		return STEP_WAIT;
	/* Bytes that answer nothing: the next request would get them as its response. */
	if (!x || x->response_done || !x->sent)
		return STEP_CLOSE;
	r = http_collect_feed(&f->response_head, in->p, in->n, &taken, &done, &why);
	take(in, taken);
	if (r < 0)
		return bad_response(f, why);
	if (done)
		f->u = HTTP_U_READY;
	return STEP_ON;
}

/* ---- bodies ------------------------------------------------------------------------------------ */

static struct secret_stream *response_stream(struct http_filter *f)
{
	return f->response_plain ? NULL : &f->response_body;
}

static int body_piece(struct http_filter *f, const uint8_t *p, size_t n, bool end, struct buf *out)
{
	size_t written;
	int r = http_write_body(response_stream(f), f->response_chunked_out, p, n, end, out,
				&written);

	if (r == 0)
		http_exchange_first(f)->down += n;
	return r;
}

/* LENGTH and CLOSE. */
static enum step step_plain(struct http_filter *f, struct input *in)
{
	size_t n = MIN(in->n, http_body_fits(response_stream(f), in->out));
	bool end = false;

	if (f->u == HTTP_U_LENGTH) {
		n = (size_t)MIN((uint64_t)n, f->response_left);
		f->response_left -= n;
		end = f->response_left == 0;
	}
	if (n == 0)
		return STEP_WAIT;
	if (body_piece(f, in->p, n, end, in->out) < 0)
		return STEP_ABORT;
	take(in, n);
	return end ? response_over(f) : STEP_ON;
}

static enum step step_chunks(struct http_filter *f, struct input *in)
{
	size_t n = MIN(in->n, http_body_fits(response_stream(f), in->out)), taken = 0, len = 0;
	const uint8_t *data = NULL;
	const char *why = NULL;
	bool last = false;
	int r;

	if (n == 0)
		return STEP_WAIT;
	r = http_chunks_feed(&f->response_chunks, in->p, n, &taken, &data, &len, &last, &why);
	if (r < 0)
		return bad_response(f, why);
	if ((len || last) && body_piece(f, data, len, last, in->out) < 0)
		return STEP_ABORT;
	take(in, taken);
	if (last) {
		f->u = HTTP_U_TRAILERS;
		http_collect_init(&f->response_head, HTTP_COLLECT_TRAILERS);
	}
	return STEP_ON;
}

static enum step step_trailers(struct http_filter *f, struct input *in)
{
	struct http_head h;
	bool done = false;
	const char *why = NULL;
	size_t taken = 0;

	if (in->n == 0 || (in->out->len && buf_room(in->out) < HTTP_TRAILERS_MAX + 256))
		return STEP_WAIT;
	if (http_collect_feed(&f->response_head, in->p, in->n, &taken, &done, &why) < 0)
		return bad_response(f, why);
	take(in, taken);
	if (!done)
		return STEP_ON;
	if (http_head_trailers(&f->response_head, &h, &why) < 0)
		return bad_response(f, why);
	if (f->response_chunked_out && http_write_trailers(f, &h, false, in->out) < 0)
		return STEP_ABORT;
	return response_over(f);
}

/* A piece of a frame, values in its payload replaced. */
static int tunnel_piece(struct http_filter *f, const uint8_t *p, size_t n, size_t *ret_taken,
			struct buf *out)
{
	struct http_frame_piece piece;
	size_t written;
	int r = http_frames_feed(&f->frames, p, n, &piece);

	if (r < 0) {
		http_exchange_first(f)->detail = "not a WebSocket frame of a server";
		return r;
	}
	*ret_taken = piece.taken;
	if (piece.n_head)
		r = buf_append(out, f->frames.head, piece.n_head);
	if (r == 0 && piece.n_payload)
		r = http_write_body(&f->tunnel_back, false, piece.payload, piece.n_payload,
				    piece.end, out, &written);
	return r;
}

static enum step step_tunnel(struct http_filter *f, struct input *in)
{
	struct secret_stream *s = f->n_secrets ? &f->tunnel_back : NULL;
	size_t fits = http_body_fits(s, in->out), n;

	/* A frame's header comes out at once, with bytes of it that were taken before. */
	n = MIN(in->n, fits - MIN(fits, sizeof(f->frames.head)));
	if (n == 0)
		return STEP_WAIT;
	if ((s ? tunnel_piece(f, in->p, n, &n, in->out) : buf_append(in->out, in->p, n)) < 0)
		return STEP_ABORT;
	http_exchange_first(f)->down += n;
	take(in, n);
	return STEP_ON;
}

/* ---- the machine -------------------------------------------------------------------------------- */

static enum step step(struct http_filter *f, struct input *in)
{
	switch (f->u) {
	case HTTP_U_HEAD:
		return step_head(f, in);
	case HTTP_U_READY:
		return step_ready(f, in);
	case HTTP_U_LENGTH:
	case HTTP_U_CLOSE:
		return step_plain(f, in);
	case HTTP_U_CHUNKS:
		return step_chunks(f, in);
	case HTTP_U_TRAILERS:
		return step_trailers(f, in);
	case HTTP_U_TUNNEL:
		return step_tunnel(f, in);
	case HTTP_U_STOP:
		take(in, in->n);
		break;
	}
	return STEP_WAIT;
}

enum http_state http_upstream_feed(struct http_filter *f, const uint8_t *p, size_t n,
				   size_t *ret_taken, struct buf *to_guest)
{
	struct input in = { p, n, to_guest };
	enum http_state st = HTTP_OK;
	enum step s;

	do {
		s = STEP_WAIT;
		if (f->u != HTTP_U_TUNNEL)
			st = http_pump(f, to_guest);
		if (st == HTTP_OK)
			s = step(f, &in);
		if (s == STEP_ABORT)
			st = HTTP_ABORT;
		else if (s == STEP_CLOSE)
			st = HTTP_CLOSE;
	} while (st == HTTP_OK && (s == STEP_ON || s == STEP_TUNNEL));
	*ret_taken = n - in.n;
	if (st == HTTP_OK && f->u != HTTP_U_TUNNEL)
		st = http_pump(f, to_guest);
	return st;
}

enum http_state http_upstream_end(struct http_filter *f, struct buf *to_guest)
{
	struct http_exchange *x = http_exchange_first(f);

	f->upstream_ended = true;
	if (f->u == HTTP_U_TUNNEL)
		return f->n_secrets && secret_stream_end(&f->tunnel_back, to_guest) < 0 ? HTTP_ABORT
											: HTTP_CLOSE;
	if (f->u == HTTP_U_CLOSE) {
		if (body_piece(f, NULL, 0, true, to_guest) < 0)
			return HTTP_ABORT;
		response_over(f);
		return HTTP_CLOSE;
	}
	if (f->u == HTTP_U_READY)
		return http_pump(f, to_guest);
	if (x && x->response_begun)
		return x->response_done ? HTTP_CLOSE : HTTP_ABORT;
	return http_pump(f, to_guest);
}
