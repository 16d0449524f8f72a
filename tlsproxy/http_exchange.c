/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exchange's life: made by the guest's side when a request is complete up to
 * its body, judged and sent (http_request.c), answered (http_response.c) or
 * refused, and reported exactly once when it ends:
 *
 *   settled    both halves are done
 *   answered   an answer of ours went to the guest (http_answer.c)
 *   cut        no answer was possible any more: both sides reset their half
 *   left       the connection went before: http_filter_free()
 */
#include "tlsproxy/http_internal.h"

#include <stdio.h>

struct http_exchange *http_exchange_new(struct http_filter *f)
{
	struct http_exchange *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->n_secrets = secret_set_count(f->secrets);
	if (x->n_secrets) {
		x->pending = calloc(x->n_secrets, 2);
		if (!x->pending) {
			free(x);
			return NULL;
		}
		x->reported = x->pending + x->n_secrets;
		x->secrets = secret_set_ref(f->secrets);
	}
	x->filter = f;
	x->keep = true;
	buf_init(&x->gathered, HTTP_GATHER_MAX);
	buf_init(&x->ready, HTTP_SCRATCH_MAX);
	list_add_tail(&f->exchanges, &x->node);
	f->n_exchanges++;
	return x;
}

void http_exchange_set_guest(struct http_exchange *x, void *stream)
{
	x->guest = stream;
}

void *http_exchange_guest(const struct http_exchange *x)
{
	return x->guest;
}

void http_exchange_set_upstream(struct http_exchange *x, void *stream)
{
	x->upstream = stream;
}

void *http_exchange_upstream(const struct http_exchange *x)
{
	return x->upstream;
}

void http_event_request(const struct http_exchange *x, struct tlsproxy_request *ret)
{
	const struct http_filter_config *cfg = &x->filter->cfg;

	*ret = (struct tlsproxy_request){
		.flow = x->proxied ? x->proxied : cfg->flow,
		.tls = cfg->tls,
		.doh = x->doh,
		.has_sni = cfg->has_sni,
		.sni = cfg->sni,
		.authority = x->authority,
		.method = x->method,
		.target = x->target ? x->target : "",
	};
}

static void report(const struct http_exchange *x)
{
	const struct http_filter_config *cfg = &x->filter->cfg;
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

	http_event_request(x, &req);
	if (cfg->ops->http_event)
		cfg->ops->http_event(cfg->ctx, &e);
}

void http_exchange_finish(struct http_exchange *x)
{
	struct http_filter *f = x->filter;

	report(x);
	f->guest->ops->forget(f->guest, x);
	f->upstream->ops->forget(f->upstream, x);
	list_del(&x->node);
	f->n_exchanges--;
	f->target_bytes -= x->kept;
	free(x->target);
	free(x->methods.texts);
	free(x->targets.texts);
	free(x->proxied);
	free(x->waiting_head);
	free(x->pending);
	secret_stream_fini(&x->request_body);
	secret_stream_fini(&x->response_body);
	http_rewrite_free(x->rewrite);
	buf_fini(&x->gathered);
	buf_fini_wiped(&x->ready);
	http_content_fini(&x->up_body);
	http_content_fini(&x->down_body);
	http_sign_free(x);
	http_mask_free(x->mask);
	http_tunnel_free(x->tunnel);
	secret_set_unref(x->secrets);
	secret_set_unref(x->reply_secrets);
	free(x);
	/* A connection that is kept for later keeps no buffers. */
	if (list_empty(&f->exchanges)) {
		http_wiped_free(&f->arena);
		http_wiped_free(&f->scratch);
	}
}

void http_exchange_settle(struct http_exchange *x)
{
	if (x->request_done && x->response_done)
		http_exchange_finish(x);
}

void http_refuse(struct http_exchange *x, enum tlsproxy_http_outcome outcome, unsigned status,
		 const char *error, const char *detail)
{
	struct http_filter *f = x->filter;

	x->local = true;
	x->close = true;
	x->request_done = true;
	x->outcome = outcome;
	x->status = status;
	x->error = error;
	x->detail = detail;
	x->head_size = 0;
	if (f->failed && outcome == TLSPROXY_HTTP_UPSTREAM_FAILED)
		snprintf(x->extra, sizeof(x->extra), "%s", f->fail_detail);
	if (!x->verdict.denial_id[0]) {
		f->cfg.ops->new_denial_id(f->cfg.ctx, x->verdict.denial_id);
		x->verdict.allow = false; /* of our own accord, not only observed */
	}
	x->has_verdict = true;
	buf_reset(&x->gathered);
	if (x->sent)
		f->upstream->ops->reset(f->upstream, x);
}

void http_refuse_violation(struct http_exchange *x)
{
	memcpy(x->verdict.denial_id, x->violation_id, sizeof(x->verdict.denial_id));
	x->verdict.allow = false;
	x->verdict.rule[0] = x->verdict.reason[0] = 0;
	http_secret_forget(x);
	snprintf(x->extra, sizeof(x->extra), "%s", x->violation_text);
	http_refuse(x, TLSPROXY_HTTP_VIOLATION, 403, NULL, "a secret where it may not be");
}

void http_refuse_failed(struct http_exchange *x)
{
	const struct http_filter *f = x->filter;

	if (f->failed)
		http_refuse(x, TLSPROXY_HTTP_UPSTREAM_FAILED, f->fail_status, f->fail_error,
			    "the upstream cannot be used");
	else if (f->cfg.guest_h2 && !x->sent)
		http_exchange_mirror_reset(
			x, HTTP2_REFUSED_STREAM,
			"the upstream takes no more requests on this connection");
	else
		http_refuse(x, TLSPROXY_HTTP_UPSTREAM_FAILED, 502, "connection_terminated",
			    "the upstream closed the connection without an answer");
}

void http_exchange_cut(struct http_exchange *x, const char *detail)
{
	struct http_filter *f = x->filter;

	x->detail = detail;
	f->guest->ops->reset(f->guest, x);
	if (x->sent)
		f->upstream->ops->reset(f->upstream, x);
	http_exchange_finish(x);
}

void http_request_cancel(struct http_exchange *x)
{
	struct http_filter *f = x->filter;

	if (x->sent && !x->local)
		f->upstream->ops->reset(f->upstream, x);
	if (!x->local && x->response_begun)
		x->detail = x->response_done ? x->detail : "the client gave the request up";
	else if (!x->local)
		http_exchange_cancelled(x, x->sent ? "the client gave the request up unanswered"
						   : "the client gave the request up before any "
						     "of it went upstream");
	http_exchange_finish(x);
}

void http_exchange_cancelled(struct http_exchange *x, const char *detail)
{
	x->local = true;
	x->outcome = TLSPROXY_HTTP_CANCELLED;
	x->detail = detail;
}

void http_exchange_mirror_reset(struct http_exchange *x, uint32_t code, const char *detail)
{
	x->local = true;
	x->outcome = TLSPROXY_HTTP_UPSTREAM_FAILED;
	x->code = code;
	http_exchange_cut(x, detail);
}

void http_exchange_set_code(struct http_exchange *x, uint32_t code)
{
	x->code = code;
}

uint32_t http_exchange_code(const struct http_exchange *x)
{
	return x->code;
}
