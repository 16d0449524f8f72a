/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter's life and its queue of exchanges.
 *
 * Requests are read ahead (HTTP_MAX_PIPELINE at most) and their responses come
 * back in order, so an answer of our own waits until it is the first in the
 * queue. A filter is over once it said CLOSE or ABORT; it then takes nothing
 * more and says so again.
 */
#include "tlsproxy/http_internal.h"

#include <stdio.h>

int http_filter_new(const struct http_filter_config *cfg, struct http_filter **ret)
{
	struct http_filter *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->cfg = *cfg;
	f->n_secrets = secret_set_count(cfg->secrets);
	if (f->n_secrets) {
		f->pending = calloc(f->n_secrets, 2);
		if (!f->pending) {
			free(f);
			return -ENOMEM;
		}
		f->reported = f->pending + f->n_secrets;
	}
	list_init(&f->exchanges);
	buf_init(&f->gathered, HTTP_GATHER_MAX);
	http_collect_init(&f->request_head, HTTP_COLLECT_REQUEST);
	http_collect_init(&f->response_head, HTTP_COLLECT_RESPONSE);
	*ret = f;
	return 0;
}

/* ---- exchanges --------------------------------------------------------------------------- */

struct http_exchange *http_exchange_add(struct http_filter *f)
{
	struct http_exchange *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	list_add_tail(&f->exchanges, &x->node);
	f->n_exchanges++;
	return x;
}

struct http_exchange *http_exchange_first(const struct http_filter *f)
{
	if (list_empty(&f->exchanges))
		return NULL;
	return container_of(f->exchanges.next, struct http_exchange, node);
}

void http_event_request(const struct http_filter *f, const struct http_exchange *x,
			struct tlsproxy_request *ret)
{
	*ret = (struct tlsproxy_request){
		.flow = f->cfg.flow,
		.tls = f->cfg.tls,
		.doh = x->doh,
		.has_sni = f->cfg.has_sni,
		.sni = f->cfg.sni,
		.authority = x->authority,
		.method = x->method,
		.target = x->target ? x->target : "",
	};
}

static void exchange_free(struct http_filter *f, struct http_exchange *x)
{
	if (f->current == x)
		f->current = NULL;
	list_del(&x->node);
	f->n_exchanges--;
	f->target_bytes -= x->kept;
	free(x->target);
	free(x->overrides);
	free(x);
}

void http_exchange_finish(struct http_filter *f, struct http_exchange *x)
{
	struct tlsproxy_request req;
	struct tlsproxy_http_event e = {
		.req = &req,
		.outcome = x->local ? x->outcome : TLSPROXY_HTTP_FORWARDED,
		.status = x->status,
		.detail = x->extra[0] ? x->extra : x->detail,
		.verdict = x->has_verdict ? &x->verdict : NULL,
		.bytes_up = x->up,
		.bytes_down = x->down,
	};

	http_event_request(f, x, &req);
	if (f->cfg.ops->http_event)
		f->cfg.ops->http_event(f->cfg.ctx, &e);
	exchange_free(f, x);
}

void http_exchange_settle(struct http_filter *f, struct http_exchange *x)
{
	if (x->request_done && x->response_done)
		http_exchange_finish(f, x);
}

void http_filter_free(struct http_filter *f)
{
	struct http_exchange *x;

	if (!f)
		return;
	/* What went out but was never answered in full stays on the record. */
	while ((x = http_exchange_first(f))) {
		if (!x->local && !x->response_done)
			x->detail = "the connection ended before the response did";
		http_exchange_finish(f, x);
	}
	http_collect_fini(&f->request_head);
	http_collect_fini(&f->response_head);
	buf_fini(&f->gathered);
	free(f->pending);
	free(f);
}

/* ---- answers in order ------------------------------------------------------------------------ */

/* The upstream is gone or was never there: what waits for it is answered here. */
static void give_up(struct http_filter *f, struct http_exchange *x)
{
	if (x->local || x->response_begun || f->u == HTTP_U_READY)
		return;
	if (f->failed)
		http_refuse(f, x, TLSPROXY_HTTP_UPSTREAM_FAILED, f->fail_status, f->fail_error,
			    "the upstream cannot be used");
	else if (f->upstream_ended)
		http_refuse(f, x, TLSPROXY_HTTP_UPSTREAM_FAILED, 502, "connection_terminated",
			    "the upstream closed the connection without an answer");
}

static enum http_state finished(struct http_filter *f)
{
	f->over = HTTP_CLOSE;
	return HTTP_CLOSE;
}

enum http_state http_pump(struct http_filter *f, struct buf *to_guest)
{
	struct http_exchange *x;

	while ((x = http_exchange_first(f))) {
		size_t before = to_guest->len, body = 0;
		bool close;
		int r;

		give_up(f, x);
		if (!x->local || !x->request_done)
			return HTTP_OK;
		r = http_answer_write(f, x, to_guest, &body);
		if (r == -ENOBUFS && before) {
			http_cut(to_guest, before);
			return HTTP_OK;
		}
		close = x->close || r < 0;
		x->down = body;
		http_exchange_finish(f, x);
		if (close)
			return finished(f);
	}
	if (f->upstream_ended || (f->guest_ended && f->g != HTTP_G_READY))
		return finished(f);
	return HTTP_OK;
}

/* ---- public calls --------------------------------------------------------------------------------- */

static enum http_state remember(struct http_filter *f, enum http_state st)
{
	if (st == HTTP_CLOSE || st == HTTP_ABORT)
		f->over = st;
	else if (f->u == HTTP_U_TUNNEL)
		st = HTTP_TUNNEL;
	return st;
}

enum http_state http_from_guest(struct http_filter *f, const uint8_t *p, size_t n,
				size_t *ret_consumed, struct buf *to_upstream, struct buf *to_guest)
{
	size_t taken = 0;
	enum http_state st;

	if (f->over) {
		*ret_consumed = n;
		return f->over;
	}
	st = http_guest_feed(f, p, n, &taken, to_upstream, to_guest);
	*ret_consumed = taken;
	return remember(f, st);
}

enum http_state http_from_upstream(struct http_filter *f, const uint8_t *p, size_t n,
				   size_t *ret_consumed, struct buf *to_guest)
{
	size_t taken = 0;
	enum http_state st;

	if (f->over) {
		*ret_consumed = n;
		return f->over;
	}
	st = http_upstream_feed(f, p, n, &taken, to_guest);
	*ret_consumed = taken;
	return remember(f, st);
}

enum http_state http_guest_eof(struct http_filter *f, struct buf *to_upstream, struct buf *to_guest)
{
	struct http_exchange *x;

	(void)to_upstream;
	if (f->over)
		return f->over;
	f->guest_ended = true;
	switch (f->g) {
	case HTTP_G_TUNNEL:
		return HTTP_TUNNEL;
	case HTTP_G_LENGTH:
	case HTTP_G_CHUNKS:
	case HTTP_G_TRAILERS:
		/* The upstream must not take half a request for a whole one. */
		return remember(f, HTTP_ABORT);
	case HTTP_G_HEAD:
		if (http_collect_empty(&f->request_head))
			break;
		x = http_exchange_add(f);
		if (!x)
			return remember(f, HTTP_ABORT);
		http_refuse(f, x, TLSPROXY_HTTP_BAD_REQUEST, 400, NULL,
			    "the connection ended within a request head");
		break;
	case HTTP_G_GATHER:
		http_refuse(f, f->current, TLSPROXY_HTTP_BAD_REQUEST, 400, NULL,
			    "the connection ended within a request body");
		break;
	case HTTP_G_DRAIN:
		f->g = HTTP_G_STOP;
		break;
	default:
		break;
	}
	return remember(f, http_pump(f, to_guest));
}

enum http_state http_upstream_eof(struct http_filter *f, struct buf *to_guest)
{
	if (f->over)
		return f->over;
	return remember(f, http_upstream_end(f, to_guest));
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

bool http_filter_rejudge(struct http_filter *f, bool judge_each)
{
	bool denied = false;

	f->cfg.judge_each = judge_each;
	if (f->failed || f->denied)
		return false;
	list_for_each (it, &f->exchanges) {
		struct http_exchange *x = container_of(it, struct http_exchange, node);

		if (x->local)
			continue;
		http_judge(f, x, &x->verdict);
		if (x->verdict.allow)
			continue;
		x->local = denied = true;
		x->outcome = TLSPROXY_HTTP_DENIED;
		x->detail = HTTP_NOW_DENIED;
	}
	return denied;
}

bool http_filter_idle(const struct http_filter *f)
{
	return list_empty(&f->exchanges) && http_collect_empty(&f->request_head) &&
	       (f->g == HTTP_G_HEAD || f->g == HTTP_G_STOP);
}
