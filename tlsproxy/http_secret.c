/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a secret may go in, and what happens when its placeholder stands
 * elsewhere.
 *
 * A value is put in only when all of this holds: the connection's upstream is
 * verified TLS, the authority is one of the secret's hosts, the method is not
 * one that comes back (TRACE, OPTIONS, CONNECT), the place is one the secret allows, and
 * the placeholder stands there as it was given out, or escaped as every client
 * escapes it in that place. Everything else is a violation.
 *
 * What was put in is reported once per secret and place of a request, after
 * the bytes went out.
 */
#include "tlsproxy/http_internal.h"

#include <stdio.h>
#include <strings.h>

#define MARK_VIOLATED 0x80 /* in reported: a passthrough was put on the record */
#define FORM(x) (1u << (x))

/*
 * Fields that servers and intermediaries repeat, log or forward to others:
 * a value in them would leave the allowed host. Names; a trailing * is a prefix.
 */
static const char *const barred_fields[] = {
	"Referer",
	"Referrer",
	"Origin",
	"Forwarded",
	"X-Forwarded-*",
	"X-Real-IP",
	"Via",
	"User-Agent",
	"From",
	"Host",
	"Connection",
	"TE",
	"Trailer",
	"Upgrade",
	"Expect",
	"Max-Forwards",
	"Range",
	"If-*",
	"Date",
	"Content-*",
	"Accept",
	"Accept-*",
	"Transfer-*",
	"Sec-Fetch-*",
	"Sec-CH-*",
	"X-Original-*",
	"X-Rewrite-*",
	"X-HTTP-Method*",
	"X-Host",
	"X-Client-IP",
	"True-Client-IP",
	"Access-Control-*",
	"Cache-Control",
	"Pragma",
	"Destination",
	"Traceparent",
	"Tracestate",
	"Baggage",
	"X-Request-ID",
	"X-Correlation-ID",
	"Sec-WebSocket-Key",
	"Sec-WebSocket-Version",
	"Sec-WebSocket-Extensions",
	"Alt-Used",
};

static bool field_is_barred(struct http_text name)
{
	for (size_t i = 0; i < ARRAY_SIZE(barred_fields); i++) {
		const char *b = barred_fields[i];
		size_t n = strlen(b);

		if (b[n - 1] == '*' ? name.len >= n - 1 && strncasecmp(name.s, b, n - 1) == 0
				    : http_text_ieq(name, b))
			return true;
	}
	return false;
}

void http_secret_begin(struct http_exchange *x)
{
	const char *m = x->method;

	http_secret_forget(x);
	if (x->filter->n_secrets)
		memset(x->reported, 0, x->filter->n_secrets);
	x->request_barred = NULL;
	x->secret_host = false;
	for (size_t i = 0; x->filter->cfg.tls && i < x->filter->n_secrets; i++)
		x->secret_host |=
			secret_host_allowed(&x->filter->cfg.secrets->secrets[i], &x->authority);
	if (!x->filter->cfg.tls)
		x->request_barred = "plain http";
	else if (x->filter->cfg.unverified)
		x->request_barred = "upstream is not verified";
	else if (str_eq(m, "TRACE"))
		x->request_barred = "TRACE";
	else if (str_eq(m, "OPTIONS"))
		x->request_barred = "OPTIONS";
}

void http_secret_forget(struct http_exchange *x)
{
	if (x->filter->n_secrets)
		memset(x->pending, 0, x->filter->n_secrets);
}

/* ---- decisions --------------------------------------------------------------------------- */

static bool fits_unescaped(const struct secret *s, enum secret_form natural)
{
	if (natural == SECRET_PERCENT)
		return secret_encode_percent(0, s->value, s->len, NULL) == s->len;
	if (natural == SECRET_JSON)
		return secret_encode_json(0, s->value, s->len, NULL) == s->len;
	return true;
}

/* NULL: it may be put in. */
static const char *why_not(const struct http_exchange *x, const struct secret *s,
			   const struct http_place *place, enum secret_form form)
{
	if (x->request_barred)
		return x->request_barred;
	if (!secret_host_allowed(s, &x->authority))
		return "host not allowed";
	if (place->barred)
		return place->barred;
	if (!(s->places & place->place))
		return "place not allowed";
	if (!(place->forms & FORM(form)))
		return "encoded";
	if (!s->shaped && !place->grows && !fits_unescaped(s, place->natural))
		return "the value cannot be written into this body without changing its length";
	return NULL;
}

static void emit(const struct http_exchange *x, const struct secret *s,
		 struct tlsproxy_secret_event *e)
{
	const struct authority *a = &x->authority;
	char addr[IP_STRLEN];

	if (!x->filter->cfg.ops->secret_event)
		return;
	e->flow = x->filter->cfg.flow;
	e->env = s->env;
	e->action = s->on_violation;
	e->method = x->method;
	snprintf(e->host, sizeof(e->host), "%s", a->is_addr ? ip_format(&a->addr, addr) : a->name.s);
	x->filter->cfg.ops->secret_event(x->filter->cfg.ctx, e);
}

static const char *place_text(enum tlsproxy_place place)
{
	return place == TLSPROXY_IN_BASIC   ? "Basic credentials"
	       : place == TLSPROXY_IN_QUERY ? "query"
	       : place == TLSPROXY_IN_PATH  ? "path"
	       : place == TLSPROXY_IN_BODY  ? "body"
					    : "header";
}

static enum secret_verdict violated(struct http_exchange *x, const struct http_place *place,
				    const struct secret_hit *hit, const char *detail)
{
	const struct secret *s = &x->filter->cfg.secrets->secrets[hit->secret];
	struct tlsproxy_secret_event e = {
		.violation = true,
		.place = place->place,
		.encoding = secret_form_name(hit->form),
		.detail = detail,
		.denial_id = "",
	};

	if (s->on_violation == TLSPROXY_PASSTHROUGH) {
		if (!(x->reported[hit->secret] & MARK_VIOLATED))
			emit(x, s, &e);
		x->reported[hit->secret] |= MARK_VIOLATED;
		return SECRET_LEAVE;
	}
	x->filter->cfg.ops->new_denial_id(x->filter->cfg.ctx, x->violation_id);
	e.denial_id = x->violation_id;
	snprintf(x->violation_text, sizeof(x->violation_text),
		 "a secret where it may not be: %.64s in the %s: %s", s->env,
		 place_text(place->place), detail);
	if (s->on_violation != TLSPROXY_BLOCK)
		emit(x, s, &e);
	if (s->on_violation == TLSPROXY_BLOCK_AND_TERMINATE && x->filter->cfg.ops->terminate)
		x->filter->cfg.ops->terminate(x->filter->cfg.ctx, s->env);
	return SECRET_STOP;
}

int http_secret_unsigned(struct http_exchange *x, size_t secret, enum tlsproxy_place place,
			 const char *why)
{
	const struct http_place at = { .x = x, .place = place };
	const struct secret_hit hit = { secret, SECRET_PLAIN };

	if (violated(x, &at, &hit, why) != SECRET_STOP)
		return 0;
	snprintf(x->violation_text, sizeof(x->violation_text), "cannot be signed with %.64s: %s",
		 x->filter->cfg.secrets->secrets[secret].env, why);
	return -EPERM;
}

static enum secret_verdict decide(void *ctx, const struct secret_hit *hit)
{
	const struct http_place *place = ctx;
	struct http_exchange *x = place->x;
	const struct secret *s = &x->filter->cfg.secrets->secrets[hit->secret];
	const char *detail;

	if (place->skip_base64 && hit->form == SECRET_BASE64)
		return SECRET_LEAVE;
	detail = why_not(x, s, place, hit->form);
	if (detail)
		return violated(x, place, hit, detail);
	x->pending[hit->secret] |= (uint8_t)place->place;
	return !s->shaped && place->grows ? SECRET_PUT_ESCAPED : SECRET_PUT;
}

void http_secret_report(struct http_exchange *x)
{
	for (size_t i = 0; i < x->filter->n_secrets; i++) {
		unsigned fresh = x->pending[i] & ~(unsigned)x->reported[i];

		x->reported[i] |= x->pending[i];
		x->filter->secret_used |= x->pending[i] != 0;
		x->pending[i] = 0;
		for (unsigned place = 1; fresh && place <= TLSPROXY_IN_BODY; place <<= 1) {
			struct tlsproxy_secret_event e = {
				.place = (enum tlsproxy_place)place,
				.encoding = "plain",
				.denial_id = "",
			};

			if (fresh & place)
				emit(x, &x->filter->cfg.secrets->secrets[i], &e);
		}
	}
}

/* ---- texts of a head --------------------------------------------------------------------------- */

/* Could any secret go in there: else nothing is held back. */
static bool may_replace(const struct http_exchange *x, const struct http_place *place)
{
	if (x->request_barred || place->barred)
		return false;
	for (size_t i = 0; i < x->filter->n_secrets; i++)
		if ((x->filter->cfg.secrets->secrets[i].places & place->place) &&
		    secret_host_allowed(&x->filter->cfg.secrets->secrets[i], &x->authority))
			return true;
	return false;
}

static int filter_text(struct http_exchange *x, struct http_text t, struct http_place *place,
		       struct buf *out)
{
	struct secret_stream s;
	int r;

	place->x = x;
	if (!x->filter->n_secrets)
		return out ? buf_append(out, t.s, t.len) : 0;
	secret_stream_out(&s, x->filter->cfg.secrets, out && may_replace(x, place), decide, place);
	r = secret_stream_feed(&s, (const uint8_t *)t.s, t.len, out);
	return r < 0 ? r : secret_stream_end(&s, out);
}

int http_secret_scan(struct http_exchange *x, struct http_text t, const char *barred)
{
	struct http_place place = { .place = TLSPROXY_IN_HEADER, .barred = barred };

	return filter_text(x, t, &place, NULL);
}

int http_secret_scrub(struct http_exchange *x, struct http_text t, struct buf *out)
{
	struct secret_stream s;
	int r;

	if (!x->filter->n_secrets)
		return buf_append(out, t.s, t.len);
	secret_stream_back(&s, x->filter->cfg.secrets);
	r = secret_stream_feed(&s, (const uint8_t *)t.s, t.len, out);
	return r < 0 ? r : secret_stream_end(&s, out);
}

int http_secret_target(struct http_exchange *x, struct http_text target, struct buf *out)
{
	struct http_place path = { .place = TLSPROXY_IN_PATH,
				   .forms = FORM(SECRET_PLAIN) | FORM(SECRET_PERCENT),
				   .grows = true };
	struct http_place query = path;
	const char *mark = memchr(target.s, '?', target.len);
	struct http_text part = { target.s, mark ? (size_t)(mark - target.s) : target.len };
	int r = filter_text(x, part, &path, out);

	if (r < 0 || !mark)
		return r;
	r = buf_append(out, "?", 1);
	if (r < 0)
		return r;
	query.place = TLSPROXY_IN_QUERY;
	part = (struct http_text){ mark + 1, target.len - part.len - 1 };
	return filter_text(x, part, &query, out);
}

/* The credentials of "Basic token68", or false. */
static bool basic_token(const struct http_field *fld, struct http_text *ret)
{
	struct http_text v = fld->value;

	if (!http_text_ieq(fld->name, "Authorization") || v.len < 7 || !str_ieq(v.s, 6, "Basic "))
		return false;
	v.s += 6;
	v.len -= 6;
	while (v.len && *v.s == ' ') {
		v.s++;
		v.len--;
	}
	*ret = v;
	return v.len > 0;
}

/* Decoded, replaced, encoded again: 1 when written, 0 when there was nothing to replace. */
static int basic_replace(struct http_exchange *x, struct http_text token, const uint8_t *plain,
			 size_t len, struct buf *out)
{
	struct http_place place = { .place = TLSPROXY_IN_BASIC, .forms = FORM(SECRET_PLAIN) };
	struct buf filled = BUF_INIT(len + 1);
	uint8_t *dst;
	int r;

	/* All storage at once: growing would leave copies of a value behind. */
	r = buf_reserve(&filled, len + 1, &dst);
	if (r == 0)
		r = filter_text(x, (struct http_text){ (const char *)plain, len }, &place, &filled);
	if (r == 0 && memcmp(buf_at(&filled), plain, len) != 0) {
		assert(filled.len == len);
		r = buf_append_str(out, "Basic ");
		if (r == 0)
			r = buf_reserve(out, token.len, &dst);
		if (r == 0) {
			buf_commit(out, secret_base64_encode(buf_at(&filled), len, (char *)dst));
			r = 1;
		}
	}
	buf_fini_wiped(&filled);
	return r;
}

static int basic_field(struct http_exchange *x, const struct http_field *fld,
		       struct http_text token, struct buf *out)
{
	struct http_place raw = { .place = TLSPROXY_IN_HEADER, .forms = FORM(SECRET_PLAIN) };
	cleanup_free uint8_t *plain = malloc(token.len + 3);
	size_t len;
	int r = 0;

	if (!plain)
		return -ENOMEM;
	if (secret_base64_decode(token.s, token.len, plain, &len) == 0) {
		r = basic_replace(x, token, plain, len, out);
		raw.skip_base64 = true;
	}
	if (r != 0)
		return MIN(r, 0);
	return filter_text(x, fld->value, &raw, out);
}

int http_secret_field(struct http_exchange *x, const struct http_field *fld, struct buf *out)
{
	struct http_place place = { .place = TLSPROXY_IN_HEADER, .forms = FORM(SECRET_PLAIN) };
	struct http_text token;
	int r;

	if (x->filter->n_secrets && basic_token(fld, &token))
		return basic_field(x, fld, token, out);
	if (field_is_barred(fld->name))
		place.barred = "field not allowed";
	r = filter_text(x, fld->value, &place, out);
	return r;
}

/* ---- bodies ------------------------------------------------------------------------------------------ */

static bool text_has(struct http_text t, const char *what)
{
	size_t n = strlen(what);

	for (size_t i = 0; i + n <= t.len; i++)
		if (strncasecmp(t.s + i, what, n) == 0)
			return true;
	return false;
}

void http_secret_body(struct http_exchange *x, const struct http_head *h, bool known)
{
	struct http_place *place = &x->body_place;
	struct http_text type = { 0 };

	*place = (struct http_place){ .x = x, .place = TLSPROXY_IN_BODY, .forms = FORM(SECRET_PLAIN) };
	if (!known)
		place->barred = "a content coding that cannot be read";
	if (http_field_find(h, "Content-Type", &type)) {
		if (text_has(type, "json"))
			place->natural = SECRET_JSON;
		else if (text_has(type, "x-www-form-urlencoded"))
			place->natural = SECRET_PERCENT;
		place->forms |= FORM(place->natural);
	}
	if (x->filter->n_secrets)
		secret_stream_out(&x->request_body, x->filter->cfg.secrets, may_replace(x, place),
				  decide, place);
}

void http_secret_tunnel(struct http_exchange *x)
{
	x->body_place = (struct http_place){ .x = x,
					     .place = TLSPROXY_IN_BODY,
					     .barred = "upgraded connection" };
	if (!x->filter->n_secrets)
		return;
	secret_stream_out(&x->tunnel->up, x->filter->cfg.secrets, false, decide, &x->body_place);
	secret_stream_back(&x->tunnel->down, x->filter->cfg.secrets);
}
