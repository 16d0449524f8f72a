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
#define FORM(f) (1u << (f))

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

void http_secret_begin(struct http_filter *f)
{
	const char *m = f->current->method;

	http_secret_forget(f);
	if (f->n_secrets)
		memset(f->reported, 0, f->n_secrets);
	f->request_barred = NULL;
	f->secret_host = false;
	for (size_t i = 0; f->cfg.tls && i < f->n_secrets; i++)
		f->secret_host |=
			secret_host_allowed(&f->cfg.secrets->secrets[i], &f->current->authority);
	if (!f->cfg.tls)
		f->request_barred = "plain http";
	else if (f->cfg.unverified)
		f->request_barred = "upstream is not verified";
	else if (str_eq(m, "TRACE"))
		f->request_barred = "TRACE";
	else if (str_eq(m, "OPTIONS"))
		f->request_barred = "OPTIONS";
}

void http_secret_forget(struct http_filter *f)
{
	if (f->n_secrets)
		memset(f->pending, 0, f->n_secrets);
}

/* ---- decisions --------------------------------------------------------------------------- */

/* Does its placeholder hold what a client may escape: then one that stands plain was left so. */
static bool shows_escaping(const struct secret *s)
{
	return secret_encode_percent(0, (const uint8_t *)s->placeholder, s->placeholder_len, NULL) !=
	       s->placeholder_len;
}

/* How a value is written where the placeholder stood in this form. */
static enum secret_escape escape_for(const struct secret *s, const struct http_place *place,
				     enum secret_form form)
{
	bool raw = form == SECRET_PLAIN && shows_escaping(s);

	if (place->place == TLSPROXY_IN_PATH)
		return raw ? SECRET_IN_PATH : SECRET_ALL_PERCENT;
	if (place->place == TLSPROXY_IN_QUERY)
		return raw ? SECRET_IN_QUERY : SECRET_ALL_PERCENT;
	if (place->natural == SECRET_PERCENT)
		return SECRET_ALL_PERCENT;
	return place->natural == SECRET_JSON ? SECRET_IN_JSON : SECRET_RAW;
}

static bool keeps_length(const struct secret *s, const struct http_place *place,
			 const struct secret_hit *hit)
{
	return secret_escape(escape_for(s, place, hit->form), s->value, s->len, NULL) == hit->len;
}

/* NULL: it may be put in. */
static const char *why_not(const struct http_filter *f, const struct secret *s,
			   const struct http_place *place, const struct secret_hit *hit)
{
	if (s->removed)
		return "removed";
	if (f->request_barred)
		return f->request_barred;
	if (!secret_host_allowed(s, &f->current->authority))
		return "host not allowed";
	if (place->barred)
		return place->barred;
	if (!(s->places & place->place))
		return "place not allowed";
	if (!(place->forms & FORM(hit->form)))
		return "encoded";
	if (!place->grows && !keeps_length(s, place, hit))
		return "the value cannot be written into this body without changing its length";
	return NULL;
}

static void emit(const struct http_filter *f, const struct secret *s, struct tlsproxy_secret_event *e)
{
	const struct authority *a = &f->current->authority;
	char addr[IP_STRLEN];

	if (!f->cfg.ops->secret_event)
		return;
	e->flow = f->cfg.flow;
	e->env = s->env;
	e->action = s->on_violation;
	e->method = f->current->method;
	snprintf(e->host, sizeof(e->host), "%s", a->is_addr ? ip_format(&a->addr, addr) : a->name.s);
	f->cfg.ops->secret_event(f->cfg.ctx, e);
}

static const char *place_text(enum tlsproxy_place place)
{
	return place == TLSPROXY_IN_BASIC   ? "Basic credentials"
	       : place == TLSPROXY_IN_QUERY ? "query"
	       : place == TLSPROXY_IN_PATH  ? "path"
	       : place == TLSPROXY_IN_BODY  ? "body"
					    : "header";
}

static enum secret_verdict violated(struct http_filter *f, const struct http_place *place,
				    const struct secret_hit *hit, const char *detail)
{
	const struct secret *s = &f->cfg.secrets->secrets[hit->secret];
	struct tlsproxy_secret_event e = {
		.violation = true,
		.place = place->place,
		.encoding = secret_form_name(hit->form),
		.detail = detail,
		.denial_id = "",
	};

	if (s->on_violation == TLSPROXY_PASSTHROUGH) {
		if (!(f->reported[hit->secret] & MARK_VIOLATED))
			emit(f, s, &e);
		f->reported[hit->secret] |= MARK_VIOLATED;
		return SECRET_LEAVE;
	}
	f->cfg.ops->new_denial_id(f->cfg.ctx, f->violation_id);
	e.denial_id = f->violation_id;
	snprintf(f->violation_text, sizeof(f->violation_text),
		 "a secret where it may not be: %.64s in the %s: %s", s->env,
		 place_text(place->place), detail);
	if (s->on_violation != TLSPROXY_BLOCK)
		emit(f, s, &e);
	if (s->on_violation == TLSPROXY_BLOCK_AND_TERMINATE && f->cfg.ops->terminate)
		f->cfg.ops->terminate(f->cfg.ctx, s->env);
	return SECRET_STOP;
}

static enum secret_verdict decide(void *ctx, struct secret_hit *hit)
{
	const struct http_place *place = ctx;
	struct http_filter *f = place->filter;
	const struct secret *s = &f->cfg.secrets->secrets[hit->secret];
	const char *detail;

	if (place->skip_base64 && hit->form == SECRET_BASE64)
		return SECRET_LEAVE;
	detail = why_not(f, s, place, hit);
	if (detail)
		return violated(f, place, hit, detail);
	f->pending[hit->secret] |= (uint8_t)place->place;
	hit->escape = escape_for(s, place, hit->form);
	return SECRET_PUT;
}

void http_secret_report(struct http_filter *f)
{
	for (size_t i = 0; i < f->n_secrets; i++) {
		unsigned fresh = f->pending[i] & ~(unsigned)f->reported[i];

		f->reported[i] |= f->pending[i];
		f->pending[i] = 0;
		for (unsigned place = 1; fresh && place <= TLSPROXY_IN_BODY; place <<= 1) {
			struct tlsproxy_secret_event e = {
				.place = (enum tlsproxy_place)place,
				.encoding = "plain",
				.denial_id = "",
			};

			if (fresh & place)
				emit(f, &f->cfg.secrets->secrets[i], &e);
		}
	}
}

/* ---- texts of a head --------------------------------------------------------------------------- */

/* Could any secret go in there: else nothing is held back. */
static bool may_replace(const struct http_filter *f, const struct http_place *place)
{
	if (f->request_barred || place->barred)
		return false;
	for (size_t i = 0; i < f->n_secrets; i++)
		if ((f->cfg.secrets->secrets[i].places & place->place) &&
		    secret_host_allowed(&f->cfg.secrets->secrets[i], &f->current->authority))
			return true;
	return false;
}

static int filter_text(struct http_filter *f, struct http_text t, struct http_place *place,
		       struct buf *out)
{
	struct secret_stream s;
	int r;

	place->filter = f;
	if (!f->n_secrets)
		return out ? buf_append(out, t.s, t.len) : 0;
	secret_stream_out(&s, f->cfg.secrets, out && may_replace(f, place), decide, place);
	r = secret_stream_feed(&s, (const uint8_t *)t.s, t.len, out);
	return r < 0 ? r : secret_stream_end(&s, out);
}

int http_secret_scan(struct http_filter *f, struct http_text t, const char *barred)
{
	struct http_place place = { .place = TLSPROXY_IN_HEADER, .barred = barred };

	return filter_text(f, t, &place, NULL);
}

int http_secret_scrub(struct http_filter *f, struct http_text t, struct buf *out)
{
	struct secret_stream s;
	int r;

	if (!f->n_secrets)
		return buf_append(out, t.s, t.len);
	secret_stream_back(&s, f->cfg.secrets);
	r = secret_stream_feed(&s, (const uint8_t *)t.s, t.len, out);
	return r < 0 ? r : secret_stream_end(&s, out);
}

int http_secret_target(struct http_filter *f, struct http_text target, struct buf *out)
{
	struct http_place path = { .place = TLSPROXY_IN_PATH,
				   .forms = FORM(SECRET_PLAIN) | FORM(SECRET_PERCENT),
				   .grows = true };
	struct http_place query = path;
	const char *mark = memchr(target.s, '?', target.len);
	struct http_text part = { target.s, mark ? (size_t)(mark - target.s) : target.len };
	int r = filter_text(f, part, &path, out);

	if (r < 0 || !mark)
		return r;
	r = buf_append(out, "?", 1);
	if (r < 0)
		return r;
	query.place = TLSPROXY_IN_QUERY;
	part = (struct http_text){ mark + 1, target.len - part.len - 1 };
	return filter_text(f, part, &query, out);
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
static int basic_replace(struct http_filter *f, const uint8_t *plain, size_t len, struct buf *out)
{
	struct http_place place = { .place = TLSPROXY_IN_BASIC,
				    .forms = FORM(SECRET_PLAIN),
				    .grows = true };
	/* Two placeholders, one for each side of the colon, and no more. */
	size_t most = len + 2 * TLSPROXY_SECRET_MAX;
	struct buf filled = BUF_INIT(most);
	uint8_t *dst;
	int r;

	/* All storage at once: growing would leave copies of a value behind. */
	r = buf_reserve(&filled, most, &dst);
	if (r == 0)
		r = filter_text(f, (struct http_text){ (const char *)plain, len }, &place, &filled);
	if (r == 0 && (filled.len != len || memcmp(buf_at(&filled), plain, len) != 0)) {
		r = buf_append_str(out, "Basic ");
		if (r == 0)
			r = buf_reserve(out, (filled.len + 2) / 3 * 4, &dst);
		if (r == 0) {
			buf_commit(out, secret_base64_encode(buf_at(&filled), filled.len,
							     (char *)dst));
			r = 1;
		}
	}
	buf_fini_wiped(&filled);
	return r;
}

static int basic_field(struct http_filter *f, const struct http_field *fld, struct http_text token,
		       struct buf *out)
{
	struct http_place raw = { .place = TLSPROXY_IN_HEADER,
				  .forms = FORM(SECRET_PLAIN),
				  .grows = true };
	cleanup_free uint8_t *plain = malloc(token.len + 3);
	size_t len;
	int r = 0;

	if (!plain)
		return -ENOMEM;
	if (secret_base64_decode(token.s, token.len, plain, &len) == 0) {
		r = basic_replace(f, plain, len, out);
		raw.skip_base64 = true;
	}
	if (r != 0)
		return MIN(r, 0);
	return filter_text(f, fld->value, &raw, out);
}

int http_secret_field(struct http_filter *f, const struct http_field *fld, struct buf *out)
{
	struct http_place place = { .place = TLSPROXY_IN_HEADER,
				    .forms = FORM(SECRET_PLAIN),
				    .grows = true };
	struct http_text token;
	int r;

	if (f->n_secrets && basic_token(fld, &token))
		return basic_field(f, fld, token, out);
	if (field_is_barred(fld->name))
		place.barred = "field not allowed";
	r = filter_text(f, fld->value, &place, out);
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

void http_secret_body(struct http_filter *f, const struct http_head *h)
{
	struct http_place *place = &f->body_place;
	struct http_text coding = { 0 }, type = { 0 };

	*place = (struct http_place){ .filter = f,
				      .place = TLSPROXY_IN_BODY,
				      .forms = FORM(SECRET_PLAIN) };
	if (http_field_find(h, "Content-Encoding", &coding) && !http_text_ieq(coding, "identity"))
		place->barred = "compressed body";
	if (http_field_find(h, "Content-Type", &type)) {
		if (text_has(type, "json"))
			place->natural = SECRET_JSON;
		else if (text_has(type, "x-www-form-urlencoded"))
			place->natural = SECRET_PERCENT;
		place->forms |= FORM(place->natural);
	}
	if (f->n_secrets)
		secret_stream_out(&f->request_body, f->cfg.secrets, may_replace(f, place), decide,
				  place);
}

void http_secret_tunnel(struct http_filter *f)
{
	f->body_place = (struct http_place){ .filter = f,
					     .place = TLSPROXY_IN_BODY,
					     .barred = "upgraded connection" };
	if (f->n_secrets)
		secret_stream_out(&f->tunnel, f->cfg.secrets, false, decide, &f->body_place);
	if (f->n_secrets)
		secret_stream_back(&f->tunnel_back, f->cfg.secrets);
}
