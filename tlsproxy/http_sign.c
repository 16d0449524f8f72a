/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed requests in an exchange: found when the head is judged, verified and signed
 * anew when it goes out, with the body where that is part of what is signed.
 *
 * Such a body has to be known before the head is written: it is gathered, up to a limit
 * of its own and one of the process. Longer ones, and those that do not tell their
 * length, are refused with the reason.
 */
#include "tlsproxy/sign.h"

#include <stdio.h>

/* Of all exchanges of the process: promised by Content-Length, kept until sent. */
static size_t kept_bodies;

static const struct secret_set *set_of(const struct http_exchange *x)
{
	return x->secrets;
}

static bool may_sign(const struct http_exchange *x)
{
	const struct http_filter_config *cfg = &x->filter->cfg;

	return x->n_secrets && cfg->tls && !cfg->unverified && !str_eq(x->method, "TRACE") &&
	       !str_eq(x->method, "OPTIONS");
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
	buf_init(&x->ready, SIGN_BODY_MAX);
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
		why = http_secret_why_unsigned(x, ret->secret);
		r = why ? -EPERM : sign_verify(ret, &m, body, &why);
		r = r == 0 ? 1 : r;
	}
	if (r != -EPERM)
		return r;
	r = http_secret_unsigned(x, ret->secret, ret->place, why);
	x->signs = false;
	ret->rule = NULL;
	return r;
}

/* The body as it goes out, where it is known before its head is. */
static struct http_text known_body(const struct http_exchange *x)
{
	const struct buf *b = x->up_body.pipe ? &x->ready : &x->gathered;

	if (!x->gathers || !b->len)
		return (struct http_text){ "", 0 };
	return (struct http_text){ (const char *)buf_at(b), b->len };
}

int http_sign_head(struct http_exchange *x, const struct sign_plan *p, struct http_head *out)
{
	const char *why = NULL;
	int r = sign_apply(p, out, out->authority, known_body(x), time_real_ns() / NS_PER_S,
			   &x->filter->arena, &why);

	if (r == -EPERM)
		return http_secret_unsigned(x, p->secret, p->place, why);
	if (r == 0)
		http_secret_signed(x, p->secret, p->place);
	return r;
}
