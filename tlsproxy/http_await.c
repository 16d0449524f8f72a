/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that need a value which is still to come: an access token that is being
 * fetched. A head with its placeholder waits before anything of it goes out, and looks
 * again when the filter is pumped; when the value cannot be had it is answered 502. How long that
 * takes is bounded by who fetches.
 */
#include "tlsproxy/http_internal.h"

#include <stdio.h>

static bool holds(struct http_text t, const struct secret *s)
{
	size_t n = strlen(s->placeholder);

	return t.len >= n && memmem(t.s, t.len, s->placeholder, n);
}

static bool head_holds(const struct http_head *h, const struct secret *s)
{
	if (holds(h->target, s))
		return true;
	for (size_t i = 0; i < h->n_fields; i++)
		if (holds(h->fields[i].value, s))
			return true;
	return false;
}

static const struct secret *awaited(const struct http_exchange *x, const struct http_head *h)
{
	for (size_t i = 0; i < x->n_secrets; i++) {
		const struct secret *s = &x->secrets->secrets[i];

		if (s->awaited && secret_host_allowed(s, &x->authority) && head_holds(h, s))
			return s;
	}
	return NULL;
}

enum http_flow http_await(struct http_exchange *x, const struct http_head *h)
{
	const struct http_filter_config *cfg = &x->filter->cfg;
	const struct secret *s = awaited(x, h);

	if (s && x->awaits) {
		/* Nothing of it went out: it may begin anew with the secrets as they are now. */
		if (http_secret_renew(x) < 0)
			return HTTP_FLOW_ABORT;
		s = awaited(x, h);
	}
	x->awaits = false;
	if (!s)
		return HTTP_FLOW_ON;
	if (cfg->ops->await && cfg->ops->await(cfg->ctx, s->env)) {
		x->awaits = true;
		return HTTP_FLOW_WAIT;
	}
	http_refuse(x, TLSPROXY_HTTP_UPSTREAM_FAILED, 502, "proxy_internal_error",
		    "no access token for this request");
	snprintf(x->extra, sizeof(x->extra),
		 "there is no access token for %.64s now: try again later", s->env);
	return HTTP_FLOW_REFUSED;
}

bool http_filter_awaits(const struct http_filter *f)
{
	list_for_each (it, &f->exchanges)
		if (container_of(it, struct http_exchange, node)->awaits)
			return true;
	return false;
}
