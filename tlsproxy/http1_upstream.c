/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 towards the upstream: requests are written, responses read, to the first
 * exchange that was sent and not answered.
 *
 *   HEAD ─► READY ─► BODY ─► HEAD, or the connection closes
 *             └───► TUNNEL (101)
 *
 * As strict as the guest's side: an ambiguous response fails its exchange, and
 * whatever follows it on the connection is dropped, as nobody knows where it
 * begins. Requests of an HTTP/1 guest are pipelined as they come; those of an
 * HTTP/2 guest, which are independent, go one after the other.
 */
#include "tlsproxy/http1.h"

enum state {
	HEAD = 0,
	READY = 1,
	BODY = 2,
	TUNNEL = 3,
	STOP = 4,
};

struct http1_upstream {
	struct http_side side;
	enum state state;
	struct http_exchange *sent[HTTP_MAX_PIPELINE]; /* a ring, oldest first */
	size_t first, n_sent;
	struct http_exchange *writing; /* its request is not complete */
	bool chunked;		       /* how that is written */
	bool ended;
	bool last; /* no response after the present one */
	struct http_collect head;
	struct http1_body body;
};

static const struct http1_sink response_sink = { http_response_room, http_response_body,
						 http_response_end };

static struct http1_upstream *upstream_of(struct http_side *s)
{
	return container_of(s, struct http1_upstream, side);
}

/* The side is the first member. */
static const struct http1_upstream *look(const struct http_side *s)
{
	return (const struct http1_upstream *)s;
}

static struct http_exchange *front(const struct http1_upstream *u)
{
	return u->n_sent ? u->sent[u->first] : NULL;
}

static void drop(struct http1_upstream *u, const struct http_exchange *x)
{
	size_t kept = 0;

	for (size_t i = 0; i < u->n_sent; i++) {
		struct http_exchange *y = u->sent[(u->first + i) % HTTP_MAX_PIPELINE];

		if (y != x)
			u->sent[(u->first + kept++) % HTTP_MAX_PIPELINE] = y;
	}
	u->n_sent = kept;
}

/* ---- ends -------------------------------------------------------------------------------- */

/* Nothing more is sent or read. Streams of an HTTP/2 guest end each on its own. */
static void stop(struct http1_upstream *u)
{
	struct http_filter *f = u->side.filter;

	u->state = STOP;
	f->upstream_gone = true;
	http_collect_fini(&u->head);
	http1_body_fini(&u->body);
	while (f->cfg.guest_h2 && u->n_sent) {
		struct http_exchange *x = front(u);

		drop(u, x);
		http_response_fail(x, "connection_terminated",
				   "the upstream closed the connection without an answer", true);
	}
}

static enum http1_step bad_response(struct http1_upstream *u, const char *why)
{
	struct http_exchange *x = front(u);

	drop(u, x);
	u->state = STOP;
	http_response_fail(x, "http_protocol_error", why, false);
	stop(u);
	return HTTP1_ON;
}

/* Answered here, or gone. */
static enum http1_step refused(struct http1_upstream *u)
{
	stop(u);
	return HTTP1_ON;
}

static enum http1_step response_over(struct http1_upstream *u)
{
	u->state = HEAD;
	http_collect_fini(&u->head);
	http1_body_fini(&u->body);
	if (!u->last && !u->ended)
		return HTTP1_ON;
	stop(u);
	return u->side.filter->cfg.guest_h2 ? HTTP1_ON : HTTP1_CLOSE;
}

/* ---- responses --------------------------------------------------------------------------------- */

static enum http1_step interim(struct http1_upstream *u, struct http_exchange *x, struct http_head *h)
{
	enum http_flow fl = http_response_head(x, h, &(struct http_framing){ 0 });

	if (fl == HTTP_FLOW_WAIT)
		return HTTP1_WAIT;
	if (fl != HTTP_FLOW_ON)
		return fl == HTTP_FLOW_REFUSED ? refused(u) : HTTP1_ABORT;
	http_collect_fini(&u->head);
	u->state = h->status == 101 ? TUNNEL : HEAD;
	if (!u->ended)
		return HTTP1_ON;
	return bad_response(u, "the upstream closed the connection without an answer");
}

static bool stays_open(const struct http_head *h, const struct http_framing *fr)
{
	return fr->body != HTTP_BODY_CLOSE && !http_field_has_token(h, "Connection", "close") &&
	       (h->minor == 1 || http_field_has_token(h, "Connection", "keep-alive"));
}

static enum http1_step final_response(struct http1_upstream *u, struct http_exchange *x,
				      struct http_head *h)
{
	struct http_side *guest = u->side.filter->guest;
	bool connected = x->connect && h->status < 300;
	const char *why = NULL;
	struct http_framing fr;

	/* Nothing that frames it counts in an answer to CONNECT (RFC 9110 9.3.6). */
	if (connected)
		fr = (struct http_framing){ 0 };
	else if (http_framing_response(h, x->is_head, &fr, &why) < 0)
		return bad_response(u, why);
	u->last = !connected &&
		  (!stays_open(h, &fr) || (!x->keep && !u->side.filter->cfg.keep_upstream));
	if (u->last)
		guest->ops->drain(guest);
	switch (http_response_head(x, h, &fr)) {
	case HTTP_FLOW_WAIT:
		return HTTP1_WAIT;
	case HTTP_FLOW_REFUSED:
		return refused(u);
	case HTTP_FLOW_ABORT:
		return HTTP1_ABORT;
	case HTTP_FLOW_ON:
		break;
	}
	http_collect_fini(&u->head);
	http1_body_begin(&u->body, &fr);
	u->state = BODY;
	if (!u->ended || u->body.state == HTTP1_B_END)
		return HTTP1_ON;
	/* The head waited for room; meanwhile the connection ended, and all bytes were read. */
	if (u->body.state != HTTP1_B_CLOSE)
		return bad_response(u, "the connection ended before the response did");
	u->body.state = HTTP1_B_END;
	return HTTP1_ON;
}

static enum http1_step step_ready(struct http1_upstream *u)
{
	struct http_side *guest = u->side.filter->guest;
	struct http_exchange *x = front(u);
	const char *why = NULL;
	struct http_head h;

	if (x->local)
		return refused(u);
	x->head_size = u->head.bytes.len + 4 * HTTP_FIELDS_MAX + 512;
	if (!guest->ops->ready(guest, x))
		return HTTP1_WAIT;
	if (http_head_response(&u->head, &h, &why) < 0)
		return bad_response(u, why);
	return h.status < 200 ? interim(u, x, &h) : final_response(u, x, &h);
}

/* Is an answer of ours still to be written: then the connection's end is not yet. */
static bool owes_answer(const struct http_filter *f)
{
	list_for_each (it, &f->exchanges)
		if (container_of(it, struct http_exchange, node)->local)
			return true;
	return false;
}

static enum http1_step step_head(struct http1_upstream *u, struct http1_input *in)
{
	struct http_exchange *x = front(u);
	const char *why = NULL;
	bool done = false;
	size_t taken = 0;

	if (in->n == 0 || u->side.filter->connected || (x && x->local) ||
	    (!x && owes_answer(u->side.filter)))
		return HTTP1_WAIT;
	/* Bytes that answer nothing: the next request would get them as its response. */
	if (!x) {
		stop(u);
		return u->side.filter->cfg.guest_h2 ? HTTP1_ON : HTTP1_CLOSE;
	}
	if (http_collect_feed(&u->head, in->p, in->n, &taken, &done, &why) < 0)
		return bad_response(u, why);
	http1_take(in, taken);
	if (done)
		u->state = READY;
	return HTTP1_ON;
}

static enum http1_step step_body(struct http1_upstream *u, struct http1_input *in)
{
	struct http_exchange *x = front(u);
	const char *why = NULL;

	switch (http1_body_step(&u->body, &response_sink, x, in, &why)) {
	case HTTP1_BODY_WAIT:
		return HTTP1_WAIT;
	case HTTP1_BODY_ON:
		return HTTP1_ON;
	case HTTP1_BODY_DONE:
		/* x may be gone: then it is not in the ring either. */
		drop(u, x);
		return response_over(u);
	case HTTP1_BODY_REFUSED:
		return refused(u);
	case HTTP1_BODY_BAD:
		return bad_response(u, why);
	case HTTP1_BODY_ABORT:
		break;
	}
	return HTTP1_ABORT;
}

static enum http1_step step_tunnel(struct http1_upstream *u, struct http1_input *in)
{
	struct http_exchange *x = front(u);
	size_t n = in->n ? MIN(in->n, http_response_room(x)) : 0;
	const uint8_t *p = in->p;

	if (n == 0)
		return HTTP1_WAIT;
	http1_take(in, n);
	return http_response_body(x, p, n) == HTTP_FLOW_ON ? HTTP1_ON : HTTP1_ABORT;
}

static enum http1_step step(struct http_side *s, struct http1_input *in)
{
	struct http1_upstream *u = upstream_of(s);

	switch (u->state) {
	case HEAD:
		return step_head(u, in);
	case READY:
		return step_ready(u);
	case BODY:
		return step_body(u, in);
	case TUNNEL:
		return step_tunnel(u, in);
	case STOP:
		http1_take(in, in->n);
		break;
	}
	return HTTP1_WAIT;
}

static enum http_state upstream_feed(struct http_side *s, const uint8_t *p, size_t n,
				     size_t *ret_taken)
{
	return http1_run(s, step, p, n, ret_taken);
}

static enum http_state upstream_pump(struct http_side *s)
{
	size_t taken;

	return http1_run(s, step, NULL, 0, &taken);
}

static enum http_state tunnel_eof(struct http_exchange *x)
{
	enum http_flow fl = http_response_end(x, NULL);

	/* WAIT: the filter closes once all has gone on. */
	return fl == HTTP_FLOW_ON ? HTTP_CLOSE : fl == HTTP_FLOW_WAIT ? HTTP_OK : HTTP_ABORT;
}

static enum http_state upstream_eof(struct http_side *s)
{
	struct http1_upstream *u = upstream_of(s);
	struct http_exchange *x = front(u);

	u->ended = true;
	if (u->state == TUNNEL)
		return tunnel_eof(x);
	if (u->state == BODY && u->body.state == HTTP1_B_CLOSE) {
		u->body.state = HTTP1_B_END;
		return HTTP_OK;
	}
	/* What was read to its end waits for room only. */
	if (u->state == READY || (u->state == BODY && u->body.state == HTTP1_B_END))
		return HTTP_OK;
	if (x) {
		drop(u, x);
		http_response_fail(x, "connection_terminated",
				   x->response_begun
					   ? "the connection ended before the response did"
					   : "the upstream closed the connection without an answer",
				   false);
	}
	stop(u);
	return HTTP_OK;
}

static bool upstream_idle(const struct http_side *s)
{
	return look(s)->n_sent == 0;
}

static void upstream_drain(struct http_side *s)
{
	(void)s;
}

static void upstream_free(struct http_side *s)
{
	struct http1_upstream *u = upstream_of(s);

	http_collect_fini(&u->head);
	http1_body_fini(&u->body);
	free(u);
}

/* ---- requests ------------------------------------------------------------------------------------ */

static bool upstream_ready(const struct http_side *s, const struct http_exchange *x)
{
	const struct http1_upstream *u = look(s);
	size_t most = s->filter->cfg.guest_h2 ? 1 : HTTP_MAX_PIPELINE;

	return !s->filter->upstream_gone && !u->writing && u->n_sent < most &&
	       http1_head_fits(x, s->out);
}

static int upstream_head(struct http_side *s, struct http_exchange *x, const struct http_head *h,
			 const struct http_framing *fr)
{
	struct http1_upstream *u = upstream_of(s);
	int r = http1_write_request(h, x, fr, s->out);

	if (r < 0)
		return r;
	u->sent[(u->first + u->n_sent++) % HTTP_MAX_PIPELINE] = x;
	u->writing = x;
	u->chunked = fr->body == HTTP_BODY_CHUNKED;
	return 0;
}

static size_t upstream_room(const struct http_side *s, const struct http_exchange *x)
{
	(void)x;
	return http1_body_fits(s->out);
}

static int upstream_body(struct http_side *s, struct http_exchange *x, const uint8_t *p, size_t n)
{
	(void)x;
	return http1_write_body(upstream_of(s)->chunked, p, n, s->out);
}

static int upstream_end(struct http_side *s, struct http_exchange *x, const struct http_head *trailers)
{
	struct http1_upstream *u = upstream_of(s);
	int r = u->chunked ? http1_write_last(trailers, s->out) : 0;

	(void)x;
	u->chunked = false;
	u->writing = NULL;
	return r;
}

/*
 * The connection is of no more use: a half request stands in it, or an answer that
 * nobody wants is to come. What was sent before it is still answered.
 */
static void upstream_reset(struct http_side *s, struct http_exchange *x)
{
	struct http1_upstream *u = upstream_of(s);

	http_upstream_leaves(s->filter);
	if (u->writing == x)
		u->writing = NULL;
	if (front(u) == x || !u->n_sent) {
		drop(u, x);
		stop(u);
	}
}

static void upstream_taken(struct http_side *s, struct http_exchange *x, size_t n)
{
	(void)s;
	(void)x;
	(void)n;
}

static void upstream_forget(struct http_side *s, struct http_exchange *x)
{
	struct http1_upstream *u = upstream_of(s);

	if (u->writing == x)
		u->writing = NULL;
	drop(u, x);
}

int http1_upstream_new(struct http_filter *f, struct http_side **ret)
{
	static const struct http_side_ops ops = {
		.feed = upstream_feed,
		.eof = upstream_eof,
		.pump = upstream_pump,
		.idle = upstream_idle,
		.drain = upstream_drain,
		.free = upstream_free,
		.ready = upstream_ready,
		.head = upstream_head,
		.room = upstream_room,
		.body = upstream_body,
		.end = upstream_end,
		.reset = upstream_reset,
		.taken = upstream_taken,
		.forget = upstream_forget,
	};
	struct http1_upstream *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->side = (struct http_side){ .ops = &ops, .filter = f };
	http_collect_init(&u->head, HTTP_COLLECT_RESPONSE);
	*ret = &u->side;
	return 0;
}
