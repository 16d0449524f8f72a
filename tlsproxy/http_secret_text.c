/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The texts of a head that secrets may stand in: target, fields, credentials; each
 * through a stream that asks http_secret.c for every hit.
 */
#include "tlsproxy/http_internal.h"

#include <strings.h>

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

bool http_secret_field_barred(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(barred_fields); i++) {
		const char *b = barred_fields[i];
		size_t n = strlen(b);

		if (b[n - 1] == '*' ? len >= n - 1 && strncasecmp(name, b, n - 1) == 0
				    : len == n && strncasecmp(name, b, n) == 0)
			return true;
	}
	return false;
}

/* ---- texts of a head --------------------------------------------------------------------- */

/* Is there nothing to find in it. */
static bool is_clean(const struct http_exchange *x, struct http_text t)
{
	return !x->n_secrets || secret_clean_out(x->secrets, t.s, t.len);
}

static int filter_text(struct http_exchange *x, struct http_text t, struct http_place *place,
		       struct buf *out)
{
	struct secret_stream s;
	int r;

	place->x = x;
	if (is_clean(x, t))
		return out ? buf_append(out, t.s, t.len) : 0;
	secret_stream_out(&s, x->secrets, out && http_secret_may_replace(x, place),
			  http_secret_decide, place);
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

	if (!secret_set_count(x->reply_secrets))
		return buf_append(out, t.s, t.len);
	secret_stream_back(&s, x->reply_secrets);
	r = secret_stream_feed(&s, (const uint8_t *)t.s, t.len, out);
	if (r == 0)
		r = secret_stream_end(&s, out);
	secret_stream_fini(&s);
	return r;
}

static bool holds_folded(struct http_text name, const struct secret_value *v)
{
	for (size_t i = 0; v->len && i + v->len <= name.len; i++)
		if (strncasecmp(name.s + i, (const char *)v->bytes, v->len) == 0)
			return true;
	return false;
}

bool http_secret_name_folded(const struct http_exchange *x, struct http_text name)
{
	const struct secret_set *set = x->reply_secrets;

	for (size_t i = 0; name.len >= TLSPROXY_SECRET_MIN && i < secret_set_count(set); i++)
		for (size_t k = 0; k < set->secrets[i].n_values; k++)
			if (holds_folded(name, &set->secrets[i].values[k]))
				return true;
	return false;
}

/* ---- the target ---------------------------------------------------------------------------- */

/* A key of the query, its escapes undone; longer ones are no name. */
static struct http_text query_key(struct http_text key, char out[static TLSPROXY_SECRET_NAME_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < key.len; i++) {
		int hi = -1, lo = -1;

		if (n == TLSPROXY_SECRET_NAME_MAX)
			return (struct http_text){ "", 0 };
		if (key.s[i] == '%' && i + 2 < key.len) {
			hi = str_hex_digit((uint8_t)key.s[i + 1]);
			lo = str_hex_digit((uint8_t)key.s[i + 2]);
		}
		if (hi >= 0 && lo >= 0) {
			out[n++] = (char)(hi << 4 | lo);
			i += 2;
		} else {
			out[n++] = key.s[i] == '+' ? ' ' : key.s[i];
		}
	}
	return (struct http_text){ out, n };
}

/* One text in pieces: keys, which are nowhere, and values, which are in their key. */
static int feed_query(struct secret_stream *s, struct http_place *place, struct http_text q,
		      struct buf *out)
{
	char name[TLSPROXY_SECRET_NAME_MAX];
	int r = 0;

	while (r == 0 && q.len) {
		const char *amp = memchr(q.s, '&', q.len);
		size_t n = amp ? (size_t)(amp - q.s) + 1 : q.len;
		const char *eq = memchr(q.s, '=', n);
		size_t key = eq ? (size_t)(eq - q.s) + 1 : n;

		place->name = (struct http_text){ "", 0 };
		r = secret_stream_feed(s, (const uint8_t *)q.s, key, out);
		if (eq)
			place->name = query_key((struct http_text){ q.s, key - 1 }, name);
		if (r == 0 && n > key)
			r = secret_stream_feed(s, (const uint8_t *)q.s + key, n - key, out);
		q.s += n;
		q.len -= n;
	}
	place->name = (struct http_text){ "", 0 };
	return r < 0 ? r : secret_stream_end(s, out);
}

static int filter_query(struct http_exchange *x, struct http_text q, struct buf *out)
{
	struct http_place place = { .x = x,
				    .place = TLSPROXY_IN_QUERY,
				    .forms = FORM(SECRET_PLAIN) | FORM(SECRET_PERCENT) };
	struct secret_stream s;

	if (is_clean(x, q))
		return buf_append(out, q.s, q.len);
	secret_stream_out(&s, x->secrets, http_secret_may_replace(x, &place), http_secret_decide,
			  &place);
	return feed_query(&s, &place, q, out);
}

int http_secret_target(struct http_exchange *x, struct http_text target, struct buf *out)
{
	struct http_place path = { .place = TLSPROXY_IN_PATH,
				   .forms = FORM(SECRET_PLAIN) | FORM(SECRET_PERCENT) };
	const char *mark = memchr(target.s, '?', target.len);
	struct http_text part = { target.s, mark ? (size_t)(mark - target.s) : target.len };
	int r = filter_text(x, part, &path, out);

	if (r < 0 || !mark)
		return r;
	r = buf_append(out, "?", 1);
	if (r < 0)
		return r;
	part = (struct http_text){ mark + 1, target.len - part.len - 1 };
	return filter_query(x, part, out);
}

/* ---- fields ---------------------------------------------------------------------------------- */

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
static int basic_replace(struct http_exchange *x, const uint8_t *plain, size_t len, struct buf *out)
{
	struct http_place place = { .place = TLSPROXY_IN_BASIC, .forms = FORM(SECRET_PLAIN) };
	size_t most = len * x->secrets->growth_out + x->secrets->burst_out;
	struct buf filled = BUF_INIT(MIN(most, HTTP_BUF_MIN));
	uint8_t *dst;
	int r;

	/* All storage at once: growing would leave copies of a value behind. */
	r = buf_reserve(&filled, filled.cap, &dst);
	if (r == 0)
		r = filter_text(x, (struct http_text){ (const char *)plain, len }, &place, &filled);
	if (r == 0 && (filled.len != len || memcmp(buf_at(&filled), plain, len) != 0)) {
		r = buf_append_str(out, "Basic ");
		if (r == 0)
			r = buf_reserve(out, (filled.len + 2) / 3 * 4, &dst);
		if (r == 0) {
			buf_commit(out,
				   secret_base64_encode(buf_at(&filled), filled.len, (char *)dst));
			r = 1;
		}
	}
	buf_fini_wiped(&filled);
	return r;
}

static int basic_field(struct http_exchange *x, const struct http_field *fld,
		       struct http_text token, struct buf *out)
{
	struct http_place raw = { .place = TLSPROXY_IN_HEADER,
				  .forms = FORM(SECRET_PLAIN),
				  .name = fld->name };
	cleanup_free uint8_t *plain = malloc(token.len + 3);
	size_t len;
	int r = 0;

	if (!plain)
		return -ENOMEM;
	if (secret_base64_decode(token.s, token.len, plain, &len) == 0) {
		r = basic_replace(x, plain, len, out);
		raw.skip_base64 = true;
	}
	if (r != 0)
		return MIN(r, 0);
	return filter_text(x, fld->value, &raw, out);
}

int http_secret_field(struct http_exchange *x, const struct http_field *fld, struct buf *out)
{
	struct http_place place = { .place = TLSPROXY_IN_HEADER,
				    .forms = FORM(SECRET_PLAIN),
				    .name = fld->name };
	struct http_text token;

	if (x->n_secrets && basic_token(fld, &token))
		return basic_field(x, fld, token, out);
	if (is_clean(x, fld->value))
		return buf_append(out, fld->value.s, fld->value.len);
	if (http_secret_field_barred(fld->name.s, fld->name.len))
		place.barred = "field not allowed";
	return filter_text(x, fld->value, &place, out);
}
