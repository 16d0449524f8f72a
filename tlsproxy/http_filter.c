/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter as a whole: its two sides, and the list of exchanges between them.
 *
 * A call brings bytes of one end and may make output for both. After the side took
 * them everything that waits is tried (http_pump): answers of ours whose turn it
 * is, then both sides, until nothing more moves. A filter is over once it said
 * CLOSE or ABORT; it then takes nothing more and says so again.
 */
#include "tlsproxy/http_internal.h"

#include <stdio.h>

static int sides_new(struct http_filter *f)
{
	int r = f->cfg.guest_h2 ? http2_guest_new(f, &f->guest) : http1_guest_new(f, &f->guest);

	if (r < 0)
		return r;
	if (f->upstream) {
		http2_upstream_move(f->upstream, f);
		return 0;
	}
	return f->cfg.upstream_h2 ? http2_upstream_new(f, &f->upstream)
				  : http1_upstream_new(f, &f->upstream);
}

int http_filter_new(const struct http_filter_config *cfg, struct http_filter **ret)
{
	struct http_filter *f = calloc(1, sizeof(*f));
	int r;

	if (!f) {
		http_side_free(cfg->upstream);
		return -ENOMEM;
	}
	f->cfg = *cfg;
	f->upstream = cfg->upstream;
	f->secrets = secret_set_ref(cfg->secrets);
	list_init(&f->exchanges);
	buf_init(&f->arena, HTTP_BUF_MIN);
	buf_init(&f->scratch, HTTP_SCRATCH_MAX);
	f->begun = cfg->tls || cfg->guest_h2;
	r = sides_new(f);
	if (r < 0) {
		http_filter_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

void http_filter_secrets(struct http_filter *f, struct secret_set *secrets)
{
	struct secret_set *old = f->secrets;

	f->secrets = secret_set_ref(secrets);
	secret_set_unref(old);
	list_for_each (it, &f->exchanges)
		http_secret_changed(container_of(it, struct http_exchange, node));
}

struct http_exchange *http_exchange_first(const struct http_filter *f)
{
	if (list_empty(&f->exchanges))
		return NULL;
	return container_of(f->exchanges.next, struct http_exchange, node);
}

void http_side_free(struct http_side *s)
{
	if (s)
		s->ops->free(s);
}

void http_filter_free(struct http_filter *f)
{
	struct http_exchange *x;

	if (!f)
		return;
	/* What went out but was never answered in full stays on the record. */
	while ((x = http_exchange_first(f))) {
		if (!x->local && !x->sent)
			http_exchange_cancelled(x, "the connection ended before any of the "
						   "request went upstream");
		else if (!x->local && !x->response_done)
			x->detail = "the connection ended before the response did";
		http_exchange_finish(x);
	}
	http_side_free(f->guest);
	http_side_free(f->upstream);
	http_wiped_free(&f->arena);
	http_wiped_free(&f->scratch);
	secret_set_unref(f->secrets);
	free(f->inside);
	free(f);
}

/* ---- what waits ------------------------------------------------------------------------- */

/* The upstream is gone or was never there: what has not been sent is answered here. */
static void give_up(struct http_filter *f)
{
	if (!f->failed && !f->upstream_gone)
		return;
	list_for_each_safe (it, next, &f->exchanges) {
		struct http_exchange *x = container_of(it, struct http_exchange, node);

		if (!x->local && (f->failed || !x->sent) && !x->response_begun)
			http_refuse_failed(x);
	}
}

static bool answer_some(struct http_filter *f)
{
	bool some = false;

	list_for_each_safe (it, next, &f->exchanges) {
		struct http_exchange *x = container_of(it, struct http_exchange, node);

		if (f->over)
			break;
		if (x->local)
			some |= http_answer(x);
	}
	return some;
}

static void side_pump(struct http_filter *f, struct http_side *s)
{
	enum http_state st = f->over ? HTTP_OK : s->ops->pump(s);

	if ((st == HTTP_CLOSE || st == HTTP_ABORT) && !f->over)
		f->over = st;
}

/* Bodies that wait for room, or for their turn. */
static void bodies_pump(struct http_filter *f)
{
	f->busy = false;
	list_for_each_safe (it, next, &f->exchanges) {
		struct http_exchange *x = container_of(it, struct http_exchange, node);

		if (!f->over && x->tunnel)
			http_tunnel_pump(x);
		else if (!f->over && x->up_body.pipe)
			http_request_pump(x);
	}
	list_for_each_safe (it, next, &f->exchanges) {
		struct http_exchange *x = container_of(it, struct http_exchange, node);

		if (!f->over && x->down_body.pipe)
			http_response_pump(x);
	}
}

static void pump(struct http_filter *f)
{
	bodies_pump(f);
	do {
		give_up(f);
		answer_some(f);
		side_pump(f, f->guest);
		side_pump(f, f->upstream);
	} while (!f->over && answer_some(f));
	if (f->over || !list_empty(&f->exchanges))
		return;
	/* Replies that are complete may still wait for the windows of their streams. */
	if (f->cfg.guest_h2 && !f->guest->ops->idle(f->guest))
		return;
	if (f->upstream_gone || (f->guest_ended && f->guest->ops->idle(f->guest)))
		f->over = HTTP_CLOSE;
}

void http_upstream_leaves(struct http_filter *f)
{
	if (f->upstream_gone)
		return;
	f->upstream_gone = true;
	/* HTTP/1 between both is told by the connection's end, as without us. */
	if (f->cfg.guest_h2 || f->cfg.upstream_h2)
		f->guest->ops->drain(f->guest);
}

void http_upstream_connects(struct http_filter *f)
{
	if (f->cfg.guest_h2)
		http2_guest_offer_connect(f->guest);
}

void http_side_pinged(struct http_side *s)
{
	struct http_side *other = s == s->filter->guest ? s->filter->upstream : s->filter->guest;

	if (other->ops->ping)
		other->ops->ping(other);
}

/* ---- prior knowledge --------------------------------------------------------------------- */

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define PREFACE_LEN (sizeof(PREFACE) - 1)

/* Both sides speak HTTP/2 from here on: the guest knows that the upstream does. */
static enum http_state become_h2(struct http_filter *f)
{
	struct http_side *old[2] = { f->guest, f->upstream }, *guest, *upstream;

	if (http2_guest_new(f, &guest) < 0)
		return HTTP_ABORT;
	if (http2_upstream_new(f, &upstream) < 0) {
		guest->ops->free(guest);
		return HTTP_ABORT;
	}
	guest->out = old[0]->out;
	upstream->out = old[1]->out;
	f->guest = guest;
	f->upstream = upstream;
	f->cfg.guest_h2 = f->cfg.upstream_h2 = true;
	for (size_t i = 0; i < ARRAY_SIZE(old); i++)
		old[i]->ops->free(old[i]);
	return HTTP_OK;
}

/*
 * A plain connection whose first bytes are HTTP/2's preface (RFC 9113 3.3). What is
 * like it so far is kept as a count, as it is no secret what it was. Returns the bytes
 * of p that belong to it.
 */
static size_t read_preface(struct http_filter *f, const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && f->preface < PREFACE_LEN && p[i] == (uint8_t)PREFACE[f->preface]) {
		f->preface++;
		i++;
	}
	f->begun = f->preface == PREFACE_LEN || i < n;
	return i;
}

/* ---- public calls --------------------------------------------------------------------------------- */

static enum http_state state_of(const struct http_filter *f)
{
	if (f->over)
		return f->over;
	return f->connected ? HTTP_CONNECTED : f->switched ? HTTP_TUNNEL : HTTP_OK;
}

static enum http_state done(struct http_filter *f, enum http_state st)
{
	if ((st == HTTP_CLOSE || st == HTTP_ABORT) && !f->over)
		f->over = st;
	if (!f->over)
		pump(f);
	return state_of(f);
}

static enum http_state feed(struct http_filter *f, struct http_side *s, const uint8_t *p, size_t n,
			    size_t *ret_consumed)
{
	size_t used = 0, taken;
	enum http_state st;

	do {
		taken = 0;
		st = s->ops->feed(s, n ? p + used : NULL, n - used, &taken);
		used += taken;
		st = done(f, st);
	} while (!f->over && taken && used < n);
	f->upstream_rest |= s == f->upstream && f->over && used < n;
	*ret_consumed = f->over ? n : used;
	return st;
}

static void outputs(struct http_filter *f, struct buf *to_upstream, struct buf *to_guest)
{
	f->upstream->out = to_upstream;
	f->guest->out = to_guest;
}

/* The first bytes: which protocol is it? They are handed on once that is known. */
static enum http_state begin(struct http_filter *f, const uint8_t *p, size_t n, size_t *ret_consumed)
{
	enum http_state st = HTTP_OK;
	size_t used;

	*ret_consumed = read_preface(f, p, n);
	if (!f->begun)
		return HTTP_OK;
	if (f->preface == PREFACE_LEN)
		st = f->over = become_h2(f);
	if (st == HTTP_OK && f->preface)
		st = feed(f, f->guest, (const uint8_t *)PREFACE, f->preface, &used);
	return st;
}

enum http_state http_from_guest(struct http_filter *f, const uint8_t *p, size_t n,
				size_t *ret_consumed, struct buf *to_upstream, struct buf *to_guest)
{
	enum http_state st = HTTP_OK;
	size_t before = 0;

	*ret_consumed = n;
	if (f->over)
		return f->over;
	outputs(f, to_upstream, to_guest);
	if (!f->begun && n) {
		st = begin(f, p, n, &before);
		p += before;
		n -= before;
	}
	*ret_consumed = before;
	if (st != HTTP_OK || (before && !n))
		return st;
	st = feed(f, f->guest, p, n, ret_consumed);
	*ret_consumed += before;
	return st;
}

enum http_state http_from_upstream(struct http_filter *f, const uint8_t *p, size_t n,
				   size_t *ret_consumed, struct buf *to_upstream,
				   struct buf *to_guest)
{
	*ret_consumed = n;
	if (f->over)
		return f->over;
	outputs(f, to_upstream, to_guest);
	/* Answers of ours go before what comes next. */
	pump(f);
	return feed(f, f->upstream, p, n, ret_consumed);
}

enum http_state http_guest_eof(struct http_filter *f, struct buf *to_upstream, struct buf *to_guest)
{
	size_t used;

	if (f->over)
		return f->over;
	outputs(f, to_upstream, to_guest);
	/* Half a preface is half a request of HTTP/1. */
	if (!f->begun && f->preface)
		(void)feed(f, f->guest, (const uint8_t *)PREFACE, f->preface, &used);
	f->begun = true;
	if (f->over)
		return f->over;
	f->guest_ended = true;
	return done(f, f->guest->ops->eof(f->guest));
}

enum http_state http_upstream_eof(struct http_filter *f, struct buf *to_upstream, struct buf *to_guest)
{
	if (f->over)
		return f->over;
	outputs(f, to_upstream, to_guest);
	http_upstream_leaves(f);
	return done(f, f->upstream->ops->eof(f->upstream));
}

void http_filter_fail_upstream(struct http_filter *f, unsigned status, const char *error_token,
			       const char *detail)
{
	f->failed = true;
	f->fail_status = status == 504 ? 504 : 502;
	snprintf(f->fail_error, sizeof(f->fail_error), "%s",
		 error_token ? error_token : "connection_terminated");
	snprintf(f->fail_detail, sizeof(f->fail_detail), "%s", detail ? detail : "");
}

void http_filter_deny_all(struct http_filter *f, const struct tlsproxy_verdict *v)
{
	f->denied = true;
	f->deny = *v;
}

bool http_filter_rejudge(struct http_filter *f, bool judge_each, struct buf *to_upstream,
			 struct buf *to_guest)
{
	bool denied = false;

	f->cfg.judge_each = judge_each;
	if (f->failed || f->denied || f->over)
		return false;
	outputs(f, to_upstream, to_guest);
	list_for_each_safe (it, next, &f->exchanges) {
		struct http_exchange *x = container_of(it, struct http_exchange, node);

		if (x->local || !x->judged)
			continue;
		http_judge(x, &x->verdict);
		if (x->verdict.allow)
			continue;
		x->local = true;
		x->outcome = TLSPROXY_HTTP_DENIED;
		x->detail = HTTP_NOW_DENIED;
		/* HTTP/2: the stream ends; the connection and its other streams stay. */
		if (f->cfg.guest_h2)
			http_exchange_cut(x, HTTP_NOW_DENIED);
		else
			denied = true;
	}
	return denied;
}

void http_filter_tick(struct http_filter *f, struct buf *to_upstream, struct buf *to_guest)
{
	struct http_side *const sides[] = { f->guest, f->upstream };

	/* With HTTP/1 the flow is the exchange: its own idle time ends it. */
	if (f->over || !f->cfg.guest_h2)
		return;
	outputs(f, to_upstream, to_guest);
	for (size_t i = 0; i < ARRAY_SIZE(sides); i++)
		if (sides[i] && sides[i]->ops->tick)
			sides[i]->ops->tick(sides[i]);
}

const struct tlsproxy_flow *http_filter_connected(const struct http_filter *f,
						  struct tlsproxy_verdict *ret)
{
	*ret = f->inside_verdict;
	return f->inside;
}

bool http_filter_busy(const struct http_filter *f)
{
	return f->busy && !f->over;
}

bool http_filter_bound(const struct http_filter *f)
{
	return f->bound;
}

bool http_filter_idle(const struct http_filter *f)
{
	return list_empty(&f->exchanges) && f->guest->ops->idle(f->guest) &&
	       f->upstream->ops->idle(f->upstream);
}

bool http_filter_between(const struct http_filter *f)
{
	return http_filter_idle(f) && !f->upstream_gone && !f->upstream_rest && !f->failed &&
	       (!f->cfg.upstream_h2 || http2_upstream_rests(f->upstream));
}

struct http_side *http_filter_part(struct http_filter *f)
{
	struct http_side *s = f->upstream;

	assert(http_filter_between(f));
	f->over = HTTP_CLOSE;
	if (!f->cfg.upstream_h2)
		return NULL;
	http2_upstream_move(s, NULL);
	f->upstream = NULL;
	return s;
}
