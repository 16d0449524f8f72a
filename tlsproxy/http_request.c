/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request of an exchange, from the guest's side to the upstream's.
 *
 *   head ─► judged ─┬─► sent ─► body ─► end
 *                   ├─► gathers: a short body is complete before its head goes out
 *                   └─► refused
 *
 * A request is refused before a byte of it went out, except when a violation
 * shows in a long body: then the upstream's half is reset in the middle of the
 * message, and the guest is answered. Every byte here is hostile.
 */
#include "tlsproxy/sign.h"

#include <stdio.h>

/* ---- sending --------------------------------------------------------------------------------- */

static struct http_way upward(struct http_exchange *x)
{
	return (struct http_way){ x->filter->upstream, x };
}

/* Values are put in only where they may go; elsewhere it is looked for placeholders. */
static int open_body(struct http_exchange *x, const struct http_head *h, const struct http_framing *fr)
{
	struct http_codings codings;
	bool known = http_content_codings(h, &codings);
	struct http_pipe_filter filter;
	int r = http_secret_body(x, h, known);

	if (r < 0)
		return r;
	if (!x->n_secrets || fr->body == HTTP_BODY_NONE)
		return 0;
	if (!known)
		codings.n = 0;
	http_content_fini(&x->up_body);
	filter = http_secret_up(x);
	return http_content_open(&x->up_body, &filter, &codings,
				 x->request_body.replaces ? HTTP_PIPE_CHANGE : HTTP_PIPE_LOOK);
}

/* Rewritten before a byte of the head is out. */
static int rewrite_gathered(struct http_exchange *x, struct http_framing *fr)
{
	bool changes = x->up_body.pipe && http_pipe_changes_length(x->up_body.pipe);
	int r;

	if (!x->gathers) {
		if (changes && fr->body == HTTP_BODY_LENGTH)
			*fr = (struct http_framing){ .body = HTTP_BODY_CHUNKED };
		return 0;
	}
	r = http_wiped_reserve(&x->ready,
			       changes ? 2 * x->gathered.len + HTTP_SCRATCH_MAX : x->gathered.len);
	if (r == 0)
		r = http_content_whole(&x->up_body, &x->gathered, &x->ready);
	fr->length = x->ready.len;
	return r;
}

/* The head with its secrets and its signature; a body that is gathered is ready first. */
static int make_head(struct http_exchange *x, const struct http_head *h, struct http_head *out,
		     struct http_framing *fr)
{
	struct sign_plan plan = { 0 };
	int r = x->signs ? http_sign_verify(x, h, &plan) : 0;

	x->sign_plan = r == 1 ? &plan : NULL;
	if (r >= 0)
		r = http_heads_request(x, h, out);
	if (r == 0)
		r = rewrite_gathered(x, fr);
	if (r == 0 && x->sign_plan)
		r = http_sign_head(x, &plan, out);
	x->sign_plan = NULL;
	return r;
}

static int write_head(struct http_exchange *x, const struct http_head *h,
		      const struct http_framing *fr)
{
	struct http_side *up = x->filter->upstream;
	struct http_framing framing = *fr;
	struct http_head out;
	int r;

	http_secret_begin(x);
	r = open_body(x, h, fr);
	if (r == 0)
		r = make_head(x, h, &out, &framing);
	if (r == 0)
		r = up->ops->head(up, x, &out, &framing);
	if (r == 0)
		x->sent = true;
	http_heads_done(x->filter);
	return r;
}

/* A coding that is not what it is said to be. */
static void coding_text(struct http_exchange *x)
{
	snprintf(x->extra, sizeof(x->extra), "the content coding of the request's body: %s",
		 http_coding_fault_text(http_pipe_fault(x->up_body.pipe)));
}

static enum http_flow forward(struct http_exchange *x, const struct http_head *h,
			      const struct http_framing *fr)
{
	static const struct http_refusal too_long = { 431, "head too long once written anew" };
	static const struct http_refusal too_large = { 413, "body too long once written anew" };
	static const struct http_refusal corrupt = { 400, "malformed request" };
	struct http_side *up = x->filter->upstream;
	int r;

	if (x->filter->upstream_gone) {
		http_refuse_failed(x);
		return HTTP_FLOW_REFUSED;
	}
	if (!up->ops->ready(up, x))
		return HTTP_FLOW_WAIT;
	r = write_head(x, h, fr);
	if (r == -EPERM) {
		http_refuse_violation(x);
		return HTTP_FLOW_REFUSED;
	}
	if (r < 0)
		http_secret_forget(x);
	if (r == -EBADMSG)
		coding_text(x);
	if (r == -ENOBUFS || r == -EFBIG || r == -EBADMSG)
		return http_bad_request(x, r == -ENOBUFS ? &too_long
					   : r == -EFBIG ? &too_large
							 : &corrupt);
	if (r < 0)
		return HTTP_FLOW_ABORT;
	http_secret_report(x);
	x->head_size = 0;
	return HTTP_FLOW_ON;
}

/* ---- gathering --------------------------------------------------------------------------------- */

/* The guest sends a short body without waiting for anybody. */
static bool gathers(const struct http_exchange *x, const struct http_framing *fr)
{
	if (x->sign_body)
		return true;
	return x->n_secrets && fr->body == HTTP_BODY_LENGTH && fr->length <= HTTP_GATHER_MAX &&
	       !x->expect && !x->websocket;
}

enum http_flow http_request_head(struct http_exchange *x, struct http_head *h,
				 const struct http_framing *fr)
{
	enum http_flow fl;

	if (x->local)
		return HTTP_FLOW_REFUSED;
	if (!x->judged) {
		fl = http_judge_head(x, h, fr);
		if (fl == HTTP_FLOW_ON)
			fl = http_sign_begin(x, h, fr);
		if (fl != HTTP_FLOW_ON)
			return fl;
	} else {
		struct http_refusal refusal;

		/* The same text as before, which was fine: origin form again. */
		if (http_agree(x->filter, h, &x->authority, &refusal) < 0)
			return HTTP_FLOW_ABORT;
	}
	fl = http_await(x, h);
	if (fl != HTTP_FLOW_ON)
		return fl;
	x->head_size = http_head_size(h);
	if (!gathers(x, fr))
		return forward(x, h, fr);
	x->head_size += (size_t)MIN(fr->length, HTTP_GATHER_MAX);
	x->waiting_head = http_head_copy(h);
	x->waiting_framing = *fr;
	x->gathers = true;
	return x->waiting_head ? HTTP_FLOW_ON : HTTP_FLOW_ABORT;
}

/* ---- bodies -------------------------------------------------------------------------------------- */

/* Refused in the middle of its body: an answer only when none has begun. */
static enum http_flow give_up_body(struct http_exchange *x, int r)
{
	static const struct http_refusal corrupt = { 400, "malformed request" };

	if (r != -EPERM && r != -EBADMSG)
		return HTTP_FLOW_ABORT;
	if (r == -EBADMSG)
		coding_text(x);
	if (x->response_begun)
		http_exchange_cut(x, r == -EPERM ? "a secret where it may not be" : x->extra);
	else if (r == -EPERM)
		http_refuse_violation(x);
	else
		(void)http_bad_request(x, &corrupt);
	return HTTP_FLOW_REFUSED;
}

size_t http_request_room(const struct http_exchange *x)
{
	struct http_side *up = x->filter->upstream;

	if (x->local)
		return HTTP_SLICE;
	if (x->tunnel)
		return http_tunnel_room_up(x);
	/* Not before it is known what it is that comes (RFC 8441: behind the 2xx). */
	if (x->websocket && x->n_secrets && x->filter->cfg.guest_h2)
		return 0;
	if (x->gathers)
		return buf_room(&x->gathered);
	if (x->up_body.pipe)
		return http_content_room(&x->up_body, up->ops->room(up, x));
	return MIN(up->ops->room(up, x), HTTP_SLICE);
}

enum http_flow http_request_body(struct http_exchange *x, const uint8_t *p, size_t n)
{
	const struct http_way way = upward(x);
	int r;

	if (x->tunnel)
		return http_tunnel_up(x, p, n);
	if (x->local)
		return HTTP_FLOW_REFUSED;
	x->up += n;
	x->body_begun |= n > 0;
	if (x->gathers)
		return buf_append(&x->gathered, p, n) < 0 ? HTTP_FLOW_ABORT : HTTP_FLOW_ON;
	r = x->up_body.pipe ? http_content_feed(&x->up_body, &way, p, n)
			    : way.to->ops->body(way.to, x, p, n);
	if (r < 0)
		return give_up_body(x, r);
	http_secret_report(x);
	return HTTP_FLOW_ON;
}

void http_request_pump(struct http_exchange *x)
{
	const struct http_way way = upward(x);
	int r;

	if (!x->sent || x->local || x->request_done)
		return;
	r = http_content_pump(&x->up_body, &way);
	if (r == 0)
		http_secret_report(x);
	else if (give_up_body(x, r) == HTTP_FLOW_ABORT)
		x->filter->over = HTTP_ABORT;
}

/* What was gathered goes as there is room: 0 when all is out, -EAGAIN. */
static int send_ready(struct http_exchange *x)
{
	struct http_side *up = x->filter->upstream;
	struct buf *b = x->up_body.pipe ? &x->ready : &x->gathered;
	int r = 0;

	while (r == 0 && b->len) {
		size_t n = MIN(b->len, up->ops->room(up, x));

		if (n == 0)
			return -EAGAIN;
		r = up->ops->body(up, x, buf_at(b), n);
		if (r == 0)
			buf_consume(b, n);
	}
	return r;
}

/* The rest of the body: 0 when all is out, -EAGAIN. */
static int send_rest(struct http_exchange *x)
{
	const struct http_way way = upward(x);
	bool done = true;
	int r;

	if (x->gathers)
		return send_ready(x);
	if (!x->up_body.pipe)
		return 0;
	r = http_content_end(&x->up_body, &way, &done);
	if (r == 0)
		http_secret_report(x);
	return r < 0 || done ? r : -EAGAIN;
}

static int send_end(struct http_exchange *x, const struct http_head *trailers)
{
	struct http_side *up = x->filter->upstream;
	struct http_head out;
	int r = 0;

	if (trailers && up->ops->room(up, x) < MIN(http_head_size(trailers), HTTP_SLICE / 2))
		return -EAGAIN;
	if (trailers)
		r = http_heads_trailers(x, trailers, true, &out);
	if (r == 0)
		r = up->ops->end(up, x, trailers ? &out : NULL);
	http_heads_done(x->filter);
	return r;
}

enum http_flow http_request_end(struct http_exchange *x, const struct http_head *trailers)
{
	enum http_flow fl;
	int r;

	if (x->local)
		return HTTP_FLOW_REFUSED;
	if (x->tunnel)
		return http_tunnel_up_end(x);
	if (x->gathers && !x->sent) {
		fl = forward(x, x->waiting_head, &x->waiting_framing);
		if (fl != HTTP_FLOW_ON)
			return fl;
	}
	r = send_rest(x);
	if (r == 0)
		r = send_end(x, trailers);
	if (r == -EAGAIN)
		return HTTP_FLOW_WAIT;
	if (r < 0)
		return give_up_body(x, r);
	free(x->waiting_head);
	x->waiting_head = NULL;
	buf_fini(&x->gathered);
	buf_fini_wiped(&x->ready);
	http_content_fini(&x->up_body);
	x->request_done = true;
	http_exchange_settle(x);
	return HTTP_FLOW_ON;
}

void http_request_bad(struct http_exchange *x, unsigned status, const char *why)
{
	if (x->local)
		return;
	if (x->response_begun)
		http_exchange_cut(x, why);
	else
		(void)http_bad_request(x, &(struct http_refusal){ status, why });
}
