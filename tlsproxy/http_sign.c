/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed requests in an exchange: found when the head is judged, verified and signed
 * anew when it goes out, with the body where that is part of what is signed.
 *
 * Such a body has to be known before the head is written: it is kept, up to a limit of
 * its own and one of the process, and goes out in pieces behind the head. Longer ones, and those that do
 * not tell their length, are refused with the reason.
 */
#include "tlsproxy/sign.h"

#include <stdio.h>

/* Of all exchanges of the process: promised by Content-Length, kept until sent. */
static size_t kept_bodies;

static const struct secret_set *set_of(const struct http_exchange *x)
{
	return x->filter->cfg.secrets;
}

static bool may_sign(const struct http_exchange *x)
{
	const struct http_filter_config *cfg = &x->filter->cfg;

	return x->filter->n_secrets && cfg->tls && !cfg->unverified &&
	       !str_eq(x->method, "TRACE") && !str_eq(x->method, "OPTIONS");
}

/* As the client sees it: its own Host is what it signed. */
static struct sign_message message_of(const struct http_head *h)
{
	struct sign_message m = { .method = h->method,
				  .target = h->target,
				  .host = h->authority,
				  .fields = h->fields,
				  .n_fields = h->n_fields };

	if (!m.host.len)
		http_field_find(h, "Host", &m.host);
	return m;
}

static enum http_flow refuse(struct http_exchange *x, const struct sign_plan *p, const char *why)
{
	if (http_secret_unsigned(x, p->secret, p->place, why) == 0)
		return HTTP_FLOW_ON;
	http_refuse_violation(x);
	return HTTP_FLOW_REFUSED;
}

static enum http_flow keep_body(struct http_exchange *x, const struct sign_plan *p,
				const struct http_framing *fr)
{
	if (fr->body == HTTP_BODY_NONE || fr->length == 0)
		return fr->body == HTTP_BODY_CHUNKED
			       ? refuse(x,
					p, "the length of a body that is signed has to be known: no chunks")
			       : HTTP_FLOW_ON;
	if (x->expect) {
		/* RFC 9110 10.1.1: the client sends it again without. */
		http_refuse(x, TLSPROXY_HTTP_BAD_REQUEST, 417, NULL,
			    "a body that is signed is read before its head goes on");
		return HTTP_FLOW_REFUSED;
	}
	if (fr->length > SIGN_BODY_MAX)
		return refuse(x, p, "a body that is signed is at most 8 MiB long");
	if (fr->length > SIGN_BODIES_MAX - kept_bodies)
		return refuse(x, p, "too many bodies that are signed at a time");
	x->sign_body = true;
	x->sign_kept = (size_t)fr->length;
	kept_bodies += x->sign_kept;
	buf_init(&x->gathered, SIGN_BODY_MAX);
	return HTTP_FLOW_ON;
}

void http_sign_free(struct http_exchange *x)
{
	kept_bodies -= x->sign_kept;
	x->sign_kept = 0;
}

enum http_flow http_sign_begin(struct http_exchange *x, const struct http_head *h,
			       const struct http_framing *fr)
{
	struct sign_message m = message_of(h);
	const char *why = NULL;
	struct sign_plan p;
	int r = may_sign(x) ? sign_find(set_of(x), &x->authority, &m, &p, &why) : 0;
	enum http_flow fl = HTTP_FLOW_ON;

	if (r < 0)
		return refuse(x, &p, why);
	if (r == 0)
		return HTTP_FLOW_ON;
	if (p.needs_body)
		fl = keep_body(x, &p, fr);
	x->signs = fl == HTTP_FLOW_ON;
	return fl;
}

/* What the client signed is true: once more from the same head, as texts point into it. */
int http_sign_verify(struct http_exchange *x, const struct http_head *h, struct sign_plan *ret)
{
	struct http_text body = { (const char *)buf_at(&x->gathered), x->gathered.len };
	struct sign_message m = message_of(h);
	const char *why = NULL;
	int r = sign_find(set_of(x), &x->authority, &m, ret, &why);

	if (r == 1) {
		r = sign_verify(ret, &m, body, &why);
		r = r == 0 ? 1 : r;
	}
	if (r != -EPERM)
		return r;
	r = http_secret_unsigned(x, ret->secret, ret->place, why);
	x->signs = false;
	ret->rule = NULL;
	return r;
}

int http_sign_head(struct http_exchange *x, const struct sign_plan *p, struct http_head *out,
		   struct http_text body)
{
	const char *why = NULL;
	int r = sign_apply(p, out, out->authority, body, time_real_ns() / NS_PER_S,
			   &x->filter->arena, &why);

	if (r == -EPERM)
		return http_secret_unsigned(x, p->secret, p->place, why);
	if (r == 0)
		x->pending[p->secret] |= (uint8_t)p->place;
	return r;
}

/* ---- the body that was kept ------------------------------------------------------------------ */

/* Its placeholders become values; the storage is wiped with the exchange. */
int http_sign_rewrite_body(struct http_exchange *x)
{
	struct buf out = BUF_INIT(SIGN_BODY_MAX);
	uint8_t *room;
	int r = buf_reserve(&out, MAX(x->gathered.len, (size_t)1), &room);

	if (r == 0)
		r = secret_stream_feed(&x->request_body, buf_at(&x->gathered), x->gathered.len, &out);
	if (r == 0)
		r = secret_stream_end(&x->request_body, &out);
	if (r < 0) {
		buf_fini_wiped(&out);
		return r;
	}
	buf_fini_wiped(&x->gathered);
	x->gathered = out;
	return 0;
}

int http_sign_send_body(struct http_exchange *x)
{
	struct http_side *up = x->filter->upstream;
	int r = 0;

	while (r == 0 && x->gathered.len) {
		size_t n = MIN(MIN(up->ops->room(up, x), HTTP_SLICE), x->gathered.len);

		if (n == 0)
			return 0;
		r = up->ops->body(up, x, buf_at(&x->gathered), n);
		x->up += n;
		explicit_bzero(buf_at(&x->gathered), n);
		buf_consume(&x->gathered, n);
	}
	return r;
}
