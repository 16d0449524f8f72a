/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's side: requests.
 *
 *   HEAD ─► READY ─┬─► GATHER ──────────────┐
 *                  ├─► LENGTH ──────────────┤
 *                  ├─► CHUNKS ─► TRAILERS ──┼─► HEAD (or STOP, SWITCH)
 *                  ├─► DRAIN (denied) ──────┤
 *                  └────────────────────────┘
 *
 * READY: the head is complete and waits until the upstream buffer has room for
 * it. GATHER: a short body is read before its head goes out. A request is refused
 * before a byte of it went out, except when a violation shows in a long body: then the upstream is given up in the middle of
 * the message, which its framing makes visible, and the guest is answered.
 * Every byte here is hostile.
 */
#include "tlsproxy/http_internal.h"

#include <stdio.h>

/* What one step did. */
enum step { STEP_WAIT = 0, STEP_ON = 1, STEP_ABORT = 2 };

struct input {
	const uint8_t *p;
	size_t n;
	struct buf *up;
};

static void take(struct input *in, size_t n)
{
	if (n) /* p may be NULL: nothing new, but room */
		in->p += n;
	in->n -= n;
}

/* ---- refusals -------------------------------------------------------------------------- */

void http_refuse(struct http_filter *f, struct http_exchange *x, enum tlsproxy_http_outcome outcome,
		 unsigned status, const char *error, const char *detail)
{
	x->local = true;
	x->close = true;
	x->request_done = true;
	x->outcome = outcome;
	x->status = status;
	x->error = error;
	x->detail = detail;
	if (f->failed && outcome == TLSPROXY_HTTP_UPSTREAM_FAILED)
		snprintf(x->extra, sizeof(x->extra), "%s", f->fail_detail);
	if (!x->verdict.denial_id[0])
		f->cfg.ops->new_denial_id(f->cfg.ctx, x->verdict.denial_id);
	x->has_verdict = true;
	if (f->current == x)
		f->current = NULL;
	f->g = HTTP_G_STOP;
	http_collect_fini(&f->request_head);
	buf_reset(&f->gathered);
}

static enum step refuse_bad(struct http_filter *f, struct http_exchange *x,
			    const struct http_refusal *r)
{
	http_refuse(f, x, r->status == 421 ? TLSPROXY_HTTP_MISDIRECTED : TLSPROXY_HTTP_BAD_REQUEST,
		    r->status, NULL, r->why);
	return STEP_ON;
}

/* -EPERM: the id of the violation is the answer's. */
static void refuse_violation(struct http_filter *f, struct http_exchange *x)
{
	memcpy(x->verdict.denial_id, f->violation_id, sizeof(x->verdict.denial_id));
	x->verdict.allow = false;
	x->verdict.rule[0] = x->verdict.reason[0] = 0;
	http_secret_forget(f);
	snprintf(x->extra, sizeof(x->extra), "%s", f->violation_text);
	http_refuse(f, x, TLSPROXY_HTTP_VIOLATION, 403, NULL, "a secret where it may not be");
}

/* Denied by policy: when little or no body follows, the connection stays. */
static void refuse_denied(struct http_filter *f, struct http_exchange *x,
			  const struct tlsproxy_verdict *v, const struct http_framing *fr)
{
	bool stay = x->keep && !x->expect &&
		    (fr->body == HTTP_BODY_NONE ||
		     (fr->body == HTTP_BODY_LENGTH && fr->length <= HTTP_DRAIN_MAX));

	x->verdict = *v;
	http_refuse(f, x, TLSPROXY_HTTP_DENIED, 403, NULL, "denied by policy");
	if (!stay)
		return;
	x->close = false;
	f->drain_left = fr->length;
	f->g = fr->length ? HTTP_G_DRAIN : HTTP_G_HEAD;
}

/* Written anew, a head gets a little longer. */
static size_t head_room(const struct http_collect *c)
{
	return c->bytes.len + 4 * HTTP_FIELDS_MAX + 512;
}

/* ---- a head --------------------------------------------------------------------------------- */

/* Fields by which many servers take a request for one with another method. */
static bool overrides_method(struct http_text name)
{
	return http_text_ieq(name, "X-HTTP-Method-Override") ||
	       http_text_ieq(name, "X-HTTP-Method") || http_text_ieq(name, "X-Method-Override");
}

/* In upper case, as servers read it; check_override() refuses what is no method. */
static int remember_overrides(struct http_exchange *x, const struct http_head *h)
{
	for (size_t i = 0; i < h->n_fields; i++) {
		struct http_text v = h->fields[i].value;
		char *more;

		if (!overrides_method(h->fields[i].name) || v.len > HTTP_METHOD_MAX)
			continue;
		more = realloc(x->overrides, x->kept + v.len + 1);
		if (!more)
			return -ENOMEM;
		x->overrides = more;
		more += x->kept;
		for (size_t j = 0; j < v.len; j++)
			more[j] = (char)(v.s[j] >= 'a' && v.s[j] <= 'z' ? v.s[j] - 32 : v.s[j]);
		more[v.len] = 0;
		x->kept += v.len + 1;
		x->n_overrides++;
	}
	return 0;
}

static int remember_request(struct http_filter *f, struct http_exchange *x, const struct http_head *h)
{
	bool close = http_field_has_token(h, "Connection", "close");

	memcpy(x->method, h->method.s, h->method.len);
	x->method[h->method.len] = 0;
	x->target = strndup(h->target.s, h->target.len);
	if (!x->target || remember_overrides(x, h) < 0) {
		x->kept = 0;
		return -ENOMEM;
	}
	x->kept += h->target.len;
	f->target_bytes += x->kept;
	x->doh = http_doh_request(h);
	x->is_head = http_text_is(h->method, "HEAD");
	x->http10 = h->minor == 0;
	x->keep = !close && (!x->http10 || http_field_has_token(h, "Connection", "keep-alive"));
	x->expect = !x->http10 && http_field_has_token(h, "Expect", "100-continue");
	x->websocket = !x->http10 && http_text_is(h->method, "GET") &&
		       http_field_has_token(h, "Connection", "upgrade") &&
		       http_field_has_token(h, "Upgrade", "websocket");
	return 0;
}

static int check_expect(const struct http_head *h, const struct http_exchange *x,
			struct http_refusal *refusal)
{
	struct http_text v;
	size_t n = http_field_find(h, "Expect", &v);

	if (n == 0 || x->http10 || (n == 1 && http_text_ieq(v, "100-continue")))
		return 0;
	*refusal = (struct http_refusal){ 417, "an expectation other than 100-continue" };
	return -EBADMSG;
}

void http_judge(struct http_filter *f, const struct http_exchange *x, struct tlsproxy_verdict *ret)
{
	const char *method = x->overrides;
	struct tlsproxy_request req;

	*ret = (struct tlsproxy_verdict){ .allow = !f->cfg.judge_each };
	if (!f->cfg.ops->judge_http)
		return;
	http_event_request(f, x, &req);
	f->cfg.ops->judge_http(f->cfg.ctx, &req, ret);
	for (size_t i = 0; i < x->n_overrides && ret->allow; i++) {
		req.method = method;
		f->cfg.ops->judge_http(f->cfg.ctx, &req, ret);
		method += strlen(method) + 1;
	}
}

static int check_override(const struct http_head *h, struct http_refusal *refusal)
{
	for (size_t i = 0; i < h->n_fields; i++) {
		struct http_text v = h->fields[i].value;
		bool token = v.len > 0 && v.len <= HTTP_METHOD_MAX;

		for (size_t j = 0; j < v.len && token; j++)
			token = http_is_token_char((uint8_t)v.s[j]);
		if (token || !overrides_method(h->fields[i].name))
			continue;
		*refusal = (struct http_refusal){ 400, "a method override that is no method" };
		return -EBADMSG;
	}
	return 0;
}

static void request_over(struct http_filter *f, struct http_exchange *x)
{
	f->current = NULL;
	x->request_done = true;
	f->g = x->websocket ? HTTP_G_SWITCH : x->keep ? HTTP_G_HEAD : HTTP_G_STOP;
	http_collect_fini(&f->request_head);
	http_exchange_settle(f, x);
}

static int write_gathered(struct http_filter *f, struct http_exchange *x, struct buf *up)
{
	size_t n = f->gathered.len, written = 0;
	int r;

	if (n == 0)
		return 0;
	r = http_write_body(&f->request_body, false, buf_at(&f->gathered), n, true, up, &written);
	/* A placeholder and its value are equally long: Content-Length is true. */
	assert(r < 0 || written == n);
	x->up = n;
	return r;
}

/* The head goes out, with the body that was gathered; else its body is awaited. */
static enum step forward(struct http_filter *f, struct http_exchange *x, const struct http_head *h,
			 const struct http_framing *fr, struct buf *up)
{
	static const struct http_refusal too_long = { 431, "head too long once written anew" };
	size_t before = up->len;
	int r;

	http_secret_begin(f);
	http_secret_body(f, h);
	r = http_write_request(f, h, x, fr, up);
	if (r == 0)
		r = write_gathered(f, x, up);
	if (r < 0)
		http_cut(up, before);
	if (r == -EPERM) {
		refuse_violation(f, x);
		return STEP_ON;
	}
	if (r == -ENOBUFS) {
		http_secret_forget(f);
		return refuse_bad(f, x, &too_long);
	}
	if (r < 0)
		return STEP_ABORT;
	x->sent = true;
	http_secret_report(f);
	f->body_in = f->body_out = 0;
	f->request_left = fr->length;
	f->request_chunks = (struct http_chunks){ 0 };
	http_collect_fini(&f->request_head);
	if (fr->body == HTTP_BODY_NONE || f->gathered.len)
		request_over(f, x);
	else
		f->g = fr->body == HTTP_BODY_CHUNKED ? HTTP_G_CHUNKS : HTTP_G_LENGTH;
	buf_reset(&f->gathered);
	return STEP_ON;
}

/* The guest sends a short body without waiting for anybody. */
static bool gathers(const struct http_filter *f, const struct http_exchange *x,
		    const struct http_framing *fr)
{
	return f->n_secrets && fr->body == HTTP_BODY_LENGTH && fr->length <= HTTP_GATHER_MAX &&
	       !x->expect;
}

static enum step handle_head(struct http_filter *f, struct http_exchange *x, struct buf *up)
{
	struct http_refusal refusal = { 400, "malformed request" };
	struct tlsproxy_verdict v;
	struct http_framing fr;
	struct http_head h;
	int r;

	if (http_head_request(&f->request_head, &h, &refusal) < 0)
		return refuse_bad(f, x, &refusal);
	r = http_agree(f, &h, &x->authority, &refusal);
	if (remember_request(f, x, &h) < 0)
		return STEP_ABORT;
	if (r == 0)
		r = http_framing_request(&h, &fr, &refusal);
	if (r == 0)
		r = check_expect(&h, x, &refusal);
	if (r == 0)
		r = check_override(&h, &refusal);
	if (f->denied) {
		x->verdict = f->deny;
		http_refuse(f, x, TLSPROXY_HTTP_DENIED, 403, NULL, "denied by policy");
		return STEP_ON;
	}
	if (r < 0)
		return refuse_bad(f, x, &refusal);
	if (f->failed) {
		/* http_pump() answers whatever waits for a failed upstream. */
		request_over(f, x);
		f->g = HTTP_G_STOP;
		return STEP_ON;
	}
	http_judge(f, x, &v);
	if (!v.allow) {
		refuse_denied(f, x, &v, &fr);
		return STEP_ON;
	}
	x->verdict = v;
	x->has_verdict = true;
	if (!gathers(f, x, &fr))
		return forward(f, x, &h, &fr, up);
	f->request_left = fr.length;
	f->g = HTTP_G_GATHER;
	return STEP_ON;
}

static enum step step_gather(struct http_filter *f, struct input *in)
{
	size_t n = (size_t)MIN((uint64_t)in->n, f->request_left);
	struct http_refusal refusal;
	struct authority authority;
	struct http_framing fr;
	struct http_head h;

	if (n && buf_append(&f->gathered, in->p, n) < 0)
		return STEP_ABORT;
	take(in, n);
	f->request_left -= n;
	if (f->request_left)
		return STEP_WAIT;
	if (in->up->len && buf_room(in->up) < head_room(&f->request_head) + f->gathered.len)
		return STEP_WAIT;
	/* The same bytes as before, which were fine. */
	if (http_head_request(&f->request_head, &h, &refusal) < 0 ||
	    http_agree(f, &h, &authority, &refusal) < 0 ||
	    http_framing_request(&h, &fr, &refusal) < 0)
		return STEP_ABORT;
	return forward(f, f->current, &h, &fr, in->up);
}

static enum step step_ready(struct http_filter *f, struct input *in)
{
	struct http_exchange *x;

	if (in->up->len && buf_room(in->up) < head_room(&f->request_head))
		return STEP_WAIT;
	x = http_exchange_add(f);
	if (!x)
		return STEP_ABORT;
	f->current = x;
	return handle_head(f, x, in->up);
}

static enum step step_head(struct http_filter *f, struct input *in)
{
	struct http_refusal refusal = { 400, NULL };
	struct http_exchange *x;
	bool done = false;
	size_t taken = 0;
	int r;

	if (in->n == 0 || f->n_exchanges >= HTTP_MAX_PIPELINE || f->target_bytes >= HTTP_TARGETS_MAX)
		return STEP_WAIT;
	r = http_collect_feed(&f->request_head, in->p, in->n, &taken, &done, &refusal.why);
	if (r < 0) {
		refusal.status = r == -E2BIG ? 431 : 400;
		x = r == -ENOMEM ? NULL : http_exchange_add(f);
		return x ? refuse_bad(f, x, &refusal) : STEP_ABORT;
	}
	take(in, taken);
	if (done)
		f->g = HTTP_G_READY;
	return STEP_ON;
}

/* ---- bodies ------------------------------------------------------------------------------------- */

/* Refused in the middle of its body: an answer only when none has begun. */
static enum step give_up_body(struct http_filter *f, int r, const char *why)
{
	struct http_exchange *x = f->current;
	struct http_refusal refusal = { 400, why };

	if (r != -EPERM && r != -EBADMSG)
		return STEP_ABORT;
	if (x->response_begun) {
		x->detail = r == -EPERM ? "a secret where it may not be" : why;
		return STEP_ABORT;
	}
	if (r == -EPERM)
		refuse_violation(f, x);
	else
		refuse_bad(f, x, &refusal);
	return STEP_ON;
}

static int body_piece(struct http_filter *f, const uint8_t *p, size_t n, bool chunked, bool end,
		      struct buf *up)
{
	struct secret_stream *s = f->n_secrets ? &f->request_body : NULL;
	size_t written;
	int r = http_write_body(s, chunked, p, n, end, up, &written);

	if (r < 0)
		return r;
	http_secret_report(f);
	f->body_in += n;
	f->body_out += written;
	f->current->up += n;
	f->current->body_begun = true;
	/* A placeholder and its value are equally long: Content-Length is true. */
	assert(!end || f->body_in == f->body_out);
	return 0;
}

static const struct secret_stream *request_stream(const struct http_filter *f)
{
	return f->n_secrets ? &f->request_body : NULL;
}

static enum step step_length(struct http_filter *f, struct input *in)
{
	size_t n = MIN(in->n, http_body_fits(request_stream(f), in->up));
	int r;

	n = (size_t)MIN((uint64_t)n, f->request_left);
	if (n == 0)
		return STEP_WAIT;
	f->request_left -= n;
	r = body_piece(f, in->p, n, false, f->request_left == 0, in->up);
	take(in, n);
	if (r < 0)
		return give_up_body(f, r, NULL);
	if (f->request_left == 0)
		request_over(f, f->current);
	return STEP_ON;
}

static enum step step_chunks(struct http_filter *f, struct input *in)
{
	size_t n = MIN(in->n, http_body_fits(request_stream(f), in->up)), taken = 0, len = 0;
	const uint8_t *data = NULL;
	const char *why = NULL;
	bool last = false;
	int r;

	if (n == 0)
		return STEP_WAIT;
	r = http_chunks_feed(&f->request_chunks, in->p, n, &taken, &data, &len, &last, &why);
	if (r == 0 && (len || last))
		r = body_piece(f, data, len, true, last, in->up);
	take(in, taken);
	if (r < 0)
		return give_up_body(f, r, why);
	if (last) {
		f->g = HTTP_G_TRAILERS;
		http_collect_init(&f->request_head, HTTP_COLLECT_TRAILERS);
	}
	return STEP_ON;
}

static int write_trailers(struct http_filter *f, struct buf *up, const char **ret_why)
{
	size_t before = up->len;
	struct http_head h;
	int r = http_head_trailers(&f->request_head, &h, ret_why);

	if (r == 0)
		r = http_write_trailers(f, &h, true, up);
	if (r < 0)
		http_cut(up, before);
	return r;
}

static enum step step_trailers(struct http_filter *f, struct input *in)
{
	bool done = false;
	const char *why = NULL;
	size_t taken = 0;
	int r;

	if (in->n == 0 || (in->up->len && buf_room(in->up) < HTTP_TRAILERS_MAX + 256))
		return STEP_WAIT;
	r = http_collect_feed(&f->request_head, in->p, in->n, &taken, &done, &why);
	take(in, taken);
	if (r == -E2BIG)
		r = -EBADMSG;
	if (r == 0 && done)
		r = write_trailers(f, in->up, &why);
	if (r == 0 && !done)
		return STEP_ON;
	http_collect_fini(&f->request_head);
	http_collect_init(&f->request_head, HTTP_COLLECT_REQUEST);
	if (r < 0)
		return give_up_body(f, r, why);
	request_over(f, f->current);
	return STEP_ON;
}

static enum step step_drain(struct http_filter *f, struct input *in)
{
	size_t n = (size_t)MIN((uint64_t)in->n, f->drain_left);

	take(in, n);
	f->drain_left -= n;
	if (f->drain_left == 0)
		f->g = HTTP_G_HEAD;
	return n ? STEP_ON : STEP_WAIT;
}

/* Upgraded: bytes pass, watched. A masked frame hides what it carries. */
static enum step step_tunnel(struct http_filter *f, struct input *in)
{
	struct secret_stream *s = f->n_secrets ? &f->tunnel : NULL;
	size_t n = MIN(in->n, MIN(buf_room(in->up), HTTP_SLICE)), written;

	if (n == 0)
		return STEP_WAIT;
	if (http_write_body(s, false, in->p, n, false, in->up, &written) < 0) {
		f->current->detail = "a secret where it may not be";
		return STEP_ABORT;
	}
	f->current->up += n;
	take(in, n);
	return STEP_ON;
}

/* ---- the machine --------------------------------------------------------------------------------- */

static enum step step(struct http_filter *f, struct input *in)
{
	switch (f->g) {
	case HTTP_G_HEAD:
		return step_head(f, in);
	case HTTP_G_READY:
		return step_ready(f, in);
	case HTTP_G_GATHER:
		return step_gather(f, in);
	case HTTP_G_LENGTH:
		return step_length(f, in);
	case HTTP_G_CHUNKS:
		return step_chunks(f, in);
	case HTTP_G_TRAILERS:
		return step_trailers(f, in);
	case HTTP_G_DRAIN:
		return step_drain(f, in);
	case HTTP_G_TUNNEL:
		return step_tunnel(f, in);
	case HTTP_G_STOP:
		take(in, in->n);
		return STEP_WAIT;
	case HTTP_G_SWITCH:
		break;
	}
	return STEP_WAIT;
}

enum http_state http_guest_feed(struct http_filter *f, const uint8_t *p, size_t n,
				size_t *ret_taken, struct buf *to_upstream, struct buf *to_guest)
{
	struct input in = { p, n, to_upstream };
	enum http_state st = HTTP_OK;
	enum step s;

	do {
		s = step(f, &in);
		if (s == STEP_ABORT)
			st = HTTP_ABORT;
		else if (f->g != HTTP_G_TUNNEL)
			st = http_pump(f, to_guest);
	} while (s == STEP_ON && st == HTTP_OK);
	*ret_taken = n - in.n;
	return st;
}
