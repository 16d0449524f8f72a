/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's head is held against everything that speaks of it before a byte of it goes
 * on: whom it is for, what may be expected of us, policy. What is known of the request
 * stays in its exchange, where policy finds it again when it changes.
 */
#include "tlsproxy/http_internal.h"

#include <stdio.h>

enum http_flow http_bad_request(struct http_exchange *x, const struct http_refusal *r)
{
	http_refuse(x, r->status == 421 ? TLSPROXY_HTTP_MISDIRECTED : TLSPROXY_HTTP_BAD_REQUEST,
		    r->status, NULL, r->why);
	return HTTP_FLOW_REFUSED;
}

static enum http_flow denied(struct http_exchange *x, const struct tlsproxy_verdict *v)
{
	x->verdict = *v;
	http_refuse(x, TLSPROXY_HTTP_DENIED, 403, NULL, "denied by policy");
	return HTTP_FLOW_REFUSED;
}

/* ---- what is known of it ---------------------------------------------------------------- */

static bool asks_websocket(const struct http_exchange *x, const struct http_head *h)
{
	if (h->http2)
		return http_text_is(h->protocol, "websocket");
	return !x->http10 && http_text_is(h->method, "GET") &&
	       http_field_has_token(h, "Connection", "upgrade") &&
	       http_field_has_token(h, "Upgrade", "websocket");
}

static int remember(struct http_exchange *x, const struct http_head *h)
{
	x->websocket = asks_websocket(x, h);
	memcpy(x->method, h->method.s, h->method.len);
	x->method[h->method.len] = 0;
	/* RFC 8441 5: what is GET in HTTP/1; the same rules hold for it. */
	if (x->websocket && h->http2)
		snprintf(x->method, sizeof(x->method), "GET");
	x->target = strndup(h->target.s, h->target.len);
	if (!x->target || http_overrides_remember(x, h) < 0) {
		x->kept = 0;
		return -ENOMEM;
	}
	x->kept += h->target.len;
	x->filter->target_bytes += x->kept;
	x->doh = http_doh_request(h);
	x->is_head = http_text_is(h->method, "HEAD");
	x->expect = !x->http10 && http_field_has_token(h, "Expect", "100-continue");
	return 0;
}

void http_request_bad_head(struct http_exchange *x, struct http_head *h,
			   const struct http_refusal *refusal)
{
	struct http_refusal r = *refusal, other = *refusal;

	if (http_agree(x->filter, h, &x->authority, &other) < 0)
		r = other;
	if (remember(x, h) < 0) /* only the record is poorer */
		r = *refusal;
	if (x->filter->denied)
		(void)denied(x, &x->filter->deny);
	else
		(void)http_bad_request(x, &r);
}

/* ---- judging ------------------------------------------------------------------------------ */

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

/*
 * RFC 9110 7.6.2: how many more may pass TRACE and OPTIONS on. At 0 it ends here, and
 * here is nothing that either could tell of.
 */
static int check_max_forwards(struct http_exchange *x, const struct http_head *h,
			      struct http_refusal *refusal)
{
	struct http_text v;
	size_t n = http_field_find(h, "Max-Forwards", &v);
	unsigned long left = 0;

	if (n == 0 || !(str_eq(x->method, "TRACE") || str_eq(x->method, "OPTIONS")))
		return 0;
	*refusal = (struct http_refusal){ 400, "Max-Forwards is not a plain number" };
	if (n > 1 || v.len == 0 || v.len >= sizeof(x->max_forwards) - 1)
		return -EBADMSG;
	for (size_t i = 0; i < v.len; i++) {
		if (v.s[i] < '0' || v.s[i] > '9')
			return -EBADMSG;
		left = left * 10 + (unsigned long)(v.s[i] - '0');
	}
	*refusal = (struct http_refusal){ 405, "Max-Forwards is 0: it goes no further than here" };
	if (left == 0)
		return -EBADMSG;
	snprintf(x->max_forwards, sizeof(x->max_forwards), "%lu", (left - 1) % 1000000);
	return 0;
}

/* What the request is to the flow that carries it, and whether its target may be reached. */
static bool proxy_may(const struct http_exchange *x, const struct tlsproxy_request *req,
		      struct tlsproxy_verdict *ret)
{
	const struct http_filter_config *cfg = &x->filter->cfg;
	struct tlsproxy_request own = *req;

	own.flow = cfg->flow;
	own.authority = (struct authority){ .is_addr = !cfg->flow->has_name,
					    .addr = cfg->flow->remote.addr,
					    .name = cfg->flow->name,
					    .port = cfg->flow->remote.port };
	cfg->ops->judge_http(cfg->ctx, &own, ret);
	if (ret->allow)
		cfg->ops->judge_connect(cfg->ctx, x->proxied, ret);
	return ret->allow;
}

/* With this target, by its method and by every one that it may be taken for. */
static bool judge_target(const struct http_exchange *x, const char *target,
			 struct tlsproxy_request *req, struct tlsproxy_verdict *ret)
{
	const struct http_filter_config *cfg = &x->filter->cfg;
	const char *method = x->methods.texts;

	req->target = target;
	req->method = x->method;
	cfg->ops->judge_http(cfg->ctx, req, ret);
	for (size_t i = 0; i < x->methods.n && ret->allow; i++) {
		req->method = method;
		cfg->ops->judge_http(cfg->ctx, req, ret);
		method += strlen(method) + 1;
	}
	return ret->allow;
}

void http_judge(const struct http_exchange *x, struct tlsproxy_verdict *ret)
{
	const struct http_filter_config *cfg = &x->filter->cfg;
	const char *target = x->targets.texts;
	struct tlsproxy_request req;

	*ret = (struct tlsproxy_verdict){ .allow = !cfg->judge_each };
	if (!cfg->ops->judge_http)
		return;
	http_event_request(x, &req);
	if (x->proxied && !proxy_may(x, &req, ret))
		return;
	if (x->connect || !judge_target(x, req.target, &req, ret))
		return;
	for (size_t i = 0; i < x->targets.n; i++) {
		if (!judge_target(x, target, &req, ret))
			return;
		target += strlen(target) + 1;
	}
}

/* To an explicit proxy: the flow that it is to make of it. */
static int remember_target(struct http_exchange *x)
{
	const struct authority *a = &x->authority;
	struct tlsproxy_flow *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->id = x->filter->cfg.flow->id;
	f->upstream = x->filter->cfg.flow->upstream;
	f->connect = true;
	f->remote.port = a->port ? a->port : 80;
	f->has_name = !a->is_addr;
	if (a->is_addr)
		f->remote.addr = a->addr;
	else
		f->name = a->name;
	x->proxied = f;
	return 0;
}

enum http_flow http_judge_head(struct http_exchange *x, struct http_head *h,
			       const struct http_framing *fr)
{
	const struct http_filter *f = x->filter;
	struct http_refusal refusal = { 400, "malformed request" };
	struct tlsproxy_verdict v;
	bool proxied = http_is_proxied(f, h);
	int r = http_agree(f, h, &x->authority, &refusal);

	if (remember(x, h) < 0)
		return HTTP_FLOW_ABORT;
	x->connect = r == 0 && http_text_is(h->method, "CONNECT") && !h->http2;
	if ((x->connect || (r == 0 && proxied)) && remember_target(x) < 0)
		return HTTP_FLOW_ABORT;
	if (x->connect && fr->body != HTTP_BODY_NONE) {
		refusal = (struct http_refusal){ 400, "CONNECT with a body" };
		r = -EBADMSG;
	}
	if (r == 0)
		r = check_expect(h, x, &refusal);
	if (r == 0)
		r = http_overrides_check(h, &refusal);
	if (r == 0)
		r = check_max_forwards(x, h, &refusal);
	if (f->denied)
		return denied(x, &f->deny);
	if (r < 0)
		return http_bad_request(x, &refusal);
	if (f->failed || f->upstream_gone) {
		http_refuse_failed(x);
		return HTTP_FLOW_REFUSED;
	}
	http_judge(x, &v);
	if (!v.allow)
		return denied(x, &v);
	x->verdict = v;
	x->has_verdict = x->judged = true;
	return HTTP_FLOW_ON;
}
