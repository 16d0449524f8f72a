/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 towards the guest: requests are read, responses written.
 *
 *   HEAD ─► READY ─┬─► BODY ──► HEAD (or STOP, SWITCH)
 *                  └─► DRAIN (denied) ──► HEAD
 *
 * READY: the head is complete and waits until the upstream takes it. Requests are
 * read ahead (HTTP_MAX_PIPELINE at most) and their responses come back in order, so
 * an answer of ours waits until it is the first. Every byte here is hostile.
 */
#include "tlsproxy/http1.h"

enum state {
	HEAD = 0,
	READY = 1,
	BODY = 2,
	DRAIN = 3,  /* body of a denied request */
	SWITCH = 4, /* asked for an upgrade: nothing is read until the answer */
	TUNNEL = 5,
	STOP = 6, /* whatever comes is dropped */
};

struct http1_guest {
	struct http_side side;
	enum state state;
	enum state next;	       /* after the body */
	struct http_exchange *current; /* request being read, or the tunnel */
	struct http_collect head;
	struct http1_body body;
	uint64_t drain_left;
	bool chunked; /* how the present response is written */
	bool last;    /* and the connection ends with it */
	bool drained; /* no response but the next */
};

static const struct http1_sink request_sink = { http_request_room, http_request_body,
						http_request_end };

static struct http1_guest *guest_of(struct http_side *s)
{
	return container_of(s, struct http1_guest, side);
}

/* The side is the first member. */
static const struct http1_guest *look(const struct http_side *s)
{
	return (const struct http1_guest *)s;
}

/* ---- requests ------------------------------------------------------------------------------ */

static void stop(struct http1_guest *g)
{
	g->current = NULL;
	g->state = STOP;
	http_collect_fini(&g->head);
	http1_body_fini(&g->body);
}

/* It gets an answer of ours. Denied, and little or no body to come: the connection stays. */
static enum http1_step refused(struct http1_guest *g, const struct http_framing *fr)
{
	struct http_exchange *x = g->current;
	bool stay = fr && x->outcome == TLSPROXY_HTTP_DENIED && !g->side.filter->denied &&
		    x->keep && !x->expect &&
		    (fr->body == HTTP_BODY_NONE ||
		     (fr->body == HTTP_BODY_LENGTH && fr->length <= HTTP_DRAIN_MAX));

	stop(g);
	if (!stay)
		return HTTP1_ON;
	x->close = false;
	g->drain_left = fr->length;
	g->state = fr->length ? DRAIN : HEAD;
	return HTTP1_ON;
}

static enum http1_step refuse_bad(struct http1_guest *g, const struct http_refusal *r)
{
	if (!g->current)
		g->current = http_exchange_new(g->side.filter);
	if (!g->current)
		return HTTP1_ABORT;
	http_request_bad(g->current, r->status, r->why);
	return refused(g, NULL);
}

static enum http1_step send_head(struct http1_guest *g, struct http_head *h,
				 const struct http_framing *fr)
{
	struct http_exchange *x = g->current;

	switch (http_request_head(x, h, fr)) {
	case HTTP_FLOW_WAIT:
		g->state = READY;
		return HTTP1_WAIT;
	case HTTP_FLOW_REFUSED:
		return refused(g, fr);
	case HTTP_FLOW_ABORT:
		return HTTP1_ABORT;
	case HTTP_FLOW_ON:
		break;
	}
	g->next = x->websocket || x->connect ? SWITCH : x->keep ? HEAD : STOP;
	http_collect_fini(&g->head);
	http1_body_begin(&g->body, fr);
	g->state = BODY;
	return HTTP1_ON;
}

static enum http1_step step_ready(struct http1_guest *g)
{
	struct http_refusal refusal = { 400, "malformed request" };
	struct http_side *up = g->side.filter->upstream;
	struct http_exchange *x = g->current;
	struct http_framing fr;
	struct http_head h;

	if (!x)
		x = g->current = http_exchange_new(g->side.filter);
	else if (x->judged && !g->side.filter->upstream_gone && !up->ops->ready(up, x))
		return HTTP1_WAIT;
	if (!x)
		return HTTP1_ABORT;
	if (http_head_request(&g->head, &h, &refusal) < 0)
		return refuse_bad(g, &refusal);
	x->http10 = h.minor == 0;
	x->keep = !http_field_has_token(&h, "Connection", "close") &&
		  (!x->http10 || http_field_has_token(&h, "Connection", "keep-alive"));
	if (http_framing_request(&h, &fr, &refusal) == 0)
		return send_head(g, &h, &fr);
	http_request_bad_head(x, &h, &refusal);
	return refused(g, NULL);
}

static enum http1_step step_head(struct http1_guest *g, struct http1_input *in)
{
	const struct http_filter *f = g->side.filter;
	struct http_refusal refusal = { 400, NULL };
	bool done = false;
	size_t taken = 0;
	int r;

	if (in->n == 0 || f->n_exchanges >= HTTP_MAX_PIPELINE || f->target_bytes >= HTTP_TARGETS_MAX)
		return HTTP1_WAIT;
	r = http_collect_feed(&g->head, in->p, in->n, &taken, &done, &refusal.why);
	if (r < 0) {
		refusal.status = r == -E2BIG ? 431 : 400;
		return r == -ENOMEM ? HTTP1_ABORT : refuse_bad(g, &refusal);
	}
	http1_take(in, taken);
	if (done)
		g->state = READY;
	return HTTP1_ON;
}

static enum http1_step step_body(struct http1_guest *g, struct http1_input *in)
{
	struct http_exchange *x = g->current;
	const char *why = NULL;

	switch (http1_body_step(&g->body, &request_sink, x, in, &why)) {
	case HTTP1_BODY_WAIT:
		return HTTP1_WAIT;
	case HTTP1_BODY_ON:
		return HTTP1_ON;
	case HTTP1_BODY_DONE:
		stop(g);
		g->state = g->next;
		return HTTP1_ON;
	case HTTP1_BODY_REFUSED:
		stop(g);
		return HTTP1_ON;
	case HTTP1_BODY_BAD:
		http_request_bad(x, 400, why);
		stop(g);
		return HTTP1_ON;
	case HTTP1_BODY_ABORT:
		break;
	}
	return HTTP1_ABORT;
}

static enum http1_step step_drain(struct http1_guest *g, struct http1_input *in)
{
	size_t n = (size_t)MIN((uint64_t)in->n, g->drain_left);

	http1_take(in, n);
	g->drain_left -= n;
	if (g->drain_left == 0)
		g->state = HEAD;
	return n ? HTTP1_ON : HTTP1_WAIT;
}

static enum http1_step step_tunnel(struct http1_guest *g, struct http1_input *in)
{
	size_t n = in->n ? MIN(in->n, http_request_room(g->current)) : 0;
	const uint8_t *p = in->p;

	if (n == 0)
		return HTTP1_WAIT;
	http1_take(in, n);
	return http_request_body(g->current, p, n) == HTTP_FLOW_ON ? HTTP1_ON : HTTP1_ABORT;
}

static enum http1_step step(struct http_side *s, struct http1_input *in)
{
	struct http1_guest *g = guest_of(s);

	switch (g->state) {
	case HEAD:
		return step_head(g, in);
	case READY:
		return step_ready(g);
	case BODY:
		return step_body(g, in);
	case DRAIN:
		return step_drain(g, in);
	case TUNNEL:
		return step_tunnel(g, in);
	case STOP:
		http1_take(in, in->n);
		break;
	case SWITCH:
		break;
	}
	return HTTP1_WAIT;
}

static enum http_state guest_feed(struct http_side *s, const uint8_t *p, size_t n, size_t *ret_taken)
{
	return http1_run(s, step, p, n, ret_taken);
}

static enum http_state guest_pump(struct http_side *s)
{
	size_t taken;

	return http1_run(s, step, NULL, 0, &taken);
}

static enum http_state guest_eof(struct http_side *s)
{
	static const struct http_refusal in_head = { 400,
						     "the connection ended within a request head" };
	static const struct http_refusal in_body = { 400,
						     "the connection ended within a request body" };
	struct http1_guest *g = guest_of(s);
	enum http1_step st = HTTP1_ON;

	switch (g->state) {
	case HEAD:
		if (!http_collect_empty(&g->head))
			st = refuse_bad(g, &in_head);
		break;
	case BODY:
		if (g->body.state == HTTP1_B_END)
			break;
		/* The upstream must not take half a request for a whole one. */
		st = g->current->gathers ? refuse_bad(g, &in_body) : HTTP1_ABORT;
		break;
	case DRAIN:
		g->state = STOP;
		break;
	default:
		break;
	}
	return st == HTTP1_ABORT ? HTTP_ABORT : HTTP_OK;
}

static bool guest_idle(const struct http_side *s)
{
	const struct http1_guest *g = look(s);

	return http_collect_empty(&g->head) && (g->state == HEAD || g->state == STOP);
}

static void guest_drain(struct http_side *s)
{
	guest_of(s)->drained = true;
}

static void guest_free(struct http_side *s)
{
	struct http1_guest *g = guest_of(s);

	http_collect_fini(&g->head);
	http1_body_fini(&g->body);
	free(g);
}

/* ---- responses ------------------------------------------------------------------------------- */

static bool guest_ready(const struct http_side *s, const struct http_exchange *x)
{
	return http_exchange_first(s->filter) == x && http1_head_fits(x, s->out);
}

static bool stays_open(const struct http1_guest *g, const struct http_exchange *x,
		       const struct http_framing *fr)
{
	if (x->local)
		return !x->close;
	if (g->side.filter->connected)
		return true;
	if (g->drained || !x->keep || fr->body == HTTP_BODY_CLOSE)
		return false;
	/* Told to wait and answered at once: whether the body still comes is open. */
	if (x->expect && !x->request_done && !x->body_begun)
		return false;
	/* HTTP/1.0 has no chunks: the end of the connection is the end of the body. */
	return !(x->http10 && fr->body == HTTP_BODY_CHUNKED);
}

static int guest_head(struct http_side *s, struct http_exchange *x, const struct http_head *h,
		      const struct http_framing *fr)
{
	struct http1_guest *g = guest_of(s);
	int r;

	if (h->status < 200 && h->status != 101)
		return x->http10 ? 0 : http1_write_response(h, x, fr, true, false, s->out);
	if (h->status == 101) {
		r = http1_write_response(h, x, fr, true, false, s->out);
		if (r == 0) {
			g->state = TUNNEL;
			g->current = x;
			s->filter->switched = true;
		}
		return r;
	}
	g->last = !stays_open(g, x, fr);
	g->chunked = fr->body == HTTP_BODY_CHUNKED && !x->http10;
	return http1_write_response(h, x, fr, !g->last, g->chunked, s->out);
}

static size_t guest_room(const struct http_side *s, const struct http_exchange *x)
{
	(void)x;
	return http1_body_fits(s->out);
}

static int guest_body(struct http_side *s, struct http_exchange *x, const uint8_t *p, size_t n)
{
	(void)x;
	return http1_write_body(guest_of(s)->chunked, p, n, s->out);
}

static int guest_end(struct http_side *s, struct http_exchange *x, const struct http_head *trailers)
{
	struct http1_guest *g = guest_of(s);
	int r = g->chunked ? http1_write_last(trailers, s->out) : 0;

	g->chunked = false;
	if (r < 0)
		return r;
	if (g->last)
		s->filter->over = HTTP_CLOSE;
	else if (g->state == SWITCH && !s->filter->connected)
		g->state = x->keep ? HEAD : STOP;
	else if (g->state == BODY && g->current == x && g->next == SWITCH)
		g->next = x->keep ? HEAD : STOP; /* answered before it was complete */
	return 0;
}

static void guest_reset(struct http_side *s, struct http_exchange *x)
{
	(void)x;
	s->filter->over = HTTP_ABORT;
}

static void guest_taken(struct http_side *s, struct http_exchange *x, size_t n)
{
	(void)s;
	(void)x;
	(void)n;
}

/* Answered while its request was being read: the rest of that is dropped. */
static void guest_forget(struct http_side *s, struct http_exchange *x)
{
	struct http1_guest *g = guest_of(s);

	/* It ends with its request: step_body() goes on from there. */
	bool in_order = g->state == BODY && x->request_done && !x->local;

	if (g->current == x && !in_order)
		stop(g);
}

int http1_guest_new(struct http_filter *f, struct http_side **ret)
{
	static const struct http_side_ops ops = {
		.feed = guest_feed,
		.eof = guest_eof,
		.pump = guest_pump,
		.idle = guest_idle,
		.drain = guest_drain,
		.free = guest_free,
		.ready = guest_ready,
		.head = guest_head,
		.room = guest_room,
		.body = guest_body,
		.end = guest_end,
		.reset = guest_reset,
		.taken = guest_taken,
		.forget = guest_forget,
	};
	struct http1_guest *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->side = (struct http_side){ .ops = &ops, .filter = f };
	http_collect_init(&g->head, HTTP_COLLECT_REQUEST);
	*ret = &g->side;
	return 0;
}
