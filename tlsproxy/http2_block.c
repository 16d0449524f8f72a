/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A field section as HPACK gives it, and what it may say (RFC 9113 8.2, 8.3). nghttp2
 * only decodes; that every rule is checked here lets a malformed request be
 * answered with its reason, and keeps the rules where they are tested.
 *
 * HTTP/1 is stricter than RFC 9113 in places (control characters, the name of a
 * field that a CGI server takes for another), and a section goes there too: the
 * same is refused here. The section is hostile on both sides.
 */
#include "tlsproxy/http2_internal.h"

#include <strings.h>

int http2_block_new(struct http2_block **ret)
{
	struct http2_block *b = malloc(sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->n = b->size = 0;
	b->why = NULL;
	/* Joined crumbs stand beside what they were made of. */
	buf_init(&b->text, 2 * HTTP_HEAD_MAX);
	*ret = b;
	return 0;
}

void http2_block_free(struct http2_block *b)
{
	if (!b)
		return;
	buf_fini_wiped(&b->text);
	free(b);
}

/* Outgrown storage is wiped, as a reply may hold a value. */
static int reserve(struct buf *b, size_t n)
{
	struct buf bigger = BUF_INIT(b->cap);
	uint8_t *p;
	int r;

	if (b->size - b->off >= b->len + n)
		return 0;
	r = buf_reserve(&bigger,
			MAX(2 * b->len, b->len + n) > b->cap ? b->cap : MAX(2 * b->len, b->len + n),
			&p);
	if (r == 0)
		r = buf_append(&bigger, buf_at(b), b->len);
	if (r < 0) {
		buf_fini_wiped(&bigger);
		return r;
	}
	buf_fini_wiped(b);
	*b = bigger;
	return 0;
}

int http2_block_add(struct http2_block *b, struct http_text name, struct http_text value,
		    bool sensitive)
{
	size_t at = b->text.len;

	/* Once over, it stays over: what follows is not kept. */
	if (b->why)
		return 0;
	b->size += name.len + value.len + 32;
	if (b->size > HTTP_HEAD_MAX)
		b->why = "fields longer than 65536 bytes";
	else if (b->n == ARRAY_SIZE(b->slots))
		b->why = "too many fields";
	if (b->why)
		return 0;
	if (reserve(&b->text, name.len + value.len) < 0 ||
	    buf_append(&b->text, name.s, name.len) < 0 ||
	    buf_append(&b->text, value.s, value.len) < 0)
		return -ENOMEM;
	b->slots[b->n++] =
		(struct http2_slot){ (uint32_t)at, (uint32_t)name.len, (uint32_t)(at + name.len),
				     (uint32_t)value.len, sensitive };
	return 0;
}

static struct http_text text_at(const struct http2_block *b, uint32_t at, uint32_t len)
{
	if (len == 0)
		return (struct http_text){ "", 0 };
	return (struct http_text){ (const char *)buf_at(&b->text) + at, len };
}

struct http_text http2_block_name(const struct http2_block *b, size_t i)
{
	return text_at(b, b->slots[i].name, b->slots[i].name_len);
}

struct http_text http2_block_value(const struct http2_block *b, size_t i)
{
	return text_at(b, b->slots[i].value, b->slots[i].value_len);
}

static struct http_field slot_field(const struct http2_block *b, const struct http2_slot *s)
{
	return (struct http_field){ text_at(b, s->name, s->name_len),
				    text_at(b, s->value, s->value_len), s->sensitive };
}

static bool is_cookie(const struct http2_block *b, const struct http2_slot *s)
{
	return http_text_is(text_at(b, s->name, s->name_len), "cookie");
}

int http2_block_join_cookies(struct http2_block *b)
{
	struct http2_slot *first = NULL, joined = { 0 };
	size_t total = 0, crumbs = 0, kept = 0, n = b->n;

	for (size_t i = 0; i < n; i++)
		if (is_cookie(b, &b->slots[i])) {
			total += b->slots[i].value_len + 2;
			crumbs++;
		}
	if (crumbs < 2)
		return 0;
	if (reserve(&b->text, total) < 0)
		return -ENOMEM;
	joined.value = (uint32_t)b->text.len;
	for (size_t i = 0; i < n; i++) {
		struct http2_slot *s = &b->slots[i];
		uint8_t *to = buf_at(&b->text) + b->text.len;

		if (!is_cookie(b, s)) {
			b->slots[kept++] = *s;
			continue;
		}
		if (first)
			memcpy(to, "; ", 2);
		memcpy(to + (first ? 2 : 0), buf_at(&b->text) + s->value, s->value_len);
		buf_commit(&b->text, s->value_len + (first ? 2 : 0));
		joined.sensitive |= s->sensitive;
		if (!first) {
			joined.name = s->name;
			joined.name_len = s->name_len;
			first = &b->slots[kept++];
		}
	}
	joined.value_len = (uint32_t)b->text.len - joined.value;
	*first = joined;
	b->n = kept;
	return 0;
}

/* ---- one field ---------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static const char *name_fault(struct http_text t)
{
	if (t.len == 0)
		return "a field without a name";
	for (size_t i = 0; i < t.len; i++) {
		if (t.s[i] >= 'A' && t.s[i] <= 'Z')
			return "a field name in upper case";
		if (!http_is_token_char((uint8_t)t.s[i]))
			return "a field name is not a token";
	}
	return NULL;
}

static const char *value_fault(struct http_text t)
{
	if (http_plain_run((const uint8_t *)t.s, t.len) < t.len)
		return "control character in a field value";
	if (t.len && (is_blank(t.s[0]) || is_blank(t.s[t.len - 1])))
		return "white space around a field value";
	return NULL;
}

/* Fields of HTTP/1's connections (RFC 9113 8.2.2). */
static const char *hop_fault(const struct http_field *fld)
{
	static const struct http_text names[] = {
		HTTP_TEXT("connection"), HTTP_TEXT("proxy-connection"),
		HTTP_TEXT("keep-alive"), HTTP_TEXT("transfer-encoding"),
		HTTP_TEXT("upgrade"),
	};

	if (http_text_among(fld->name, names, ARRAY_SIZE(names)))
		return "a connection-specific field";
	if (http_text_is(fld->name, "te") && !http_text_ieq(fld->value, "trailers"))
		return "TE is not \"trailers\"";
	return NULL;
}

static const char *field_fault(const struct http_field *fld)
{
	const char *why = name_fault(fld->name);

	if (!why)
		why = value_fault(fld->value);
	if (!why && http_field_disguised(fld->name))
		why = "a field name that some servers read as a framing field";
	return why ? why : hop_fault(fld);
}

/* ---- pseudo-header fields -------------------------------------------------------------- */

struct pseudo {
	const char *name;
	struct http_text *value;
	bool seen;
};

static const char *take_pseudo(struct pseudo *known, size_t n, const struct http_field *fld)
{
	for (size_t i = 0; i < n; i++) {
		if (!http_text_is(fld->name, known[i].name))
			continue;
		if (known[i].seen)
			return "a pseudo-header field twice";
		known[i].seen = true;
		*known[i].value = fld->value;
		return value_fault(fld->value);
	}
	return "an unknown pseudo-header field";
}

/* Pseudo-header fields first, then the others. *ret_many: more than may be. */
static int read_fields(const struct http2_block *b, struct pseudo *known, size_t n_known,
		       struct http_head *h, bool *ret_many, const char **ret_why)
{
	bool regular = false;

	h->n_fields = 0;
	for (size_t i = 0; i < b->n; i++) {
		struct http_field fld = slot_field(b, &b->slots[i]);

		if (fld.name.len && fld.name.s[0] == ':') {
			*ret_why = regular ? "a pseudo-header field behind others"
					   : take_pseudo(known, n_known, &fld);
		} else {
			regular = true;
			*ret_why = field_fault(&fld);
			*ret_many = h->n_fields == ARRAY_SIZE(h->fields);
			if (*ret_many)
				*ret_why = "too many fields";
			else
				h->fields[h->n_fields++] = fld;
		}
		if (*ret_why)
			return -EBADMSG;
	}
	return 0;
}

/* ---- requests ------------------------------------------------------------------------------ */

static int refuse(struct http_refusal *r, unsigned status, const char *why)
{
	*r = (struct http_refusal){ status, why };
	return -EBADMSG;
}

static const char *target_fault(const struct http_head *h)
{
	for (size_t i = 0; i < h->target.len; i++) {
		uint8_t c = (uint8_t)h->target.s[i];

		if (c <= ' ' || c >= 0x7f || c == '#')
			return c == '#' ? "fragment in :path" : ":path with a character no URI has";
	}
	if (h->target.len == 0)
		return ":path is empty";
	if (h->target.s[0] == '/')
		return NULL;
	if (http_text_is(h->target, "*") && http_text_is(h->method, "OPTIONS"))
		return NULL;
	return ":path does not begin with a slash";
}

static const char *authority_fault(struct http_head *h, bool seen)
{
	struct http_text host = { 0 };
	size_t n = http_field_find(h, "host", &host);

	if (n > 1)
		return "more than one Host";
	if (seen && h->authority.len == 0)
		return ":authority is empty";
	if (!seen && (n == 0 || host.len == 0))
		return "neither :authority nor Host";
	if (!seen)
		h->authority = host;
	else if (n && (host.len != h->authority.len ||
		       strncasecmp(host.s, h->authority.s, host.len) != 0))
		return ":authority and Host differ";
	if (memchr(h->authority.s, '@', h->authority.len))
		return "userinfo in :authority";
	return NULL;
}

enum { P_METHOD = 0, P_SCHEME = 1, P_AUTHORITY = 2, P_PATH = 3, P_PROTOCOL = 4, P_COUNT = 5 };

/* RFC 9113 8.5, RFC 8441 4 */
static const char *connect_fault(const struct pseudo *p, bool connect)
{
	if (!p[P_AUTHORITY].seen)
		return "CONNECT without :authority";
	if (p[P_PROTOCOL].seen && !connect)
		return ":protocol, which was not offered";
	if (p[P_PROTOCOL].seen && (!p[P_SCHEME].seen || !p[P_PATH].seen))
		return "extended CONNECT without :scheme or :path";
	if (!p[P_PROTOCOL].seen && (p[P_SCHEME].seen || p[P_PATH].seen))
		return "CONNECT with :scheme or :path";
	return NULL;
}

static const char *request_fault(const struct pseudo *p, bool connect, struct http_head *h)
{
	const char *why = NULL;

	if (!p[P_METHOD].seen || h->method.len == 0)
		return "no :method";
	for (size_t i = 0; i < h->method.len; i++)
		if (!http_is_token_char((uint8_t)h->method.s[i]))
			return "the method is not a token";
	if (http_text_is(h->method, "CONNECT"))
		why = connect_fault(p, connect);
	else if (p[P_PROTOCOL].seen)
		why = ":protocol without CONNECT";
	else if (!p[P_SCHEME].seen || h->scheme.len == 0)
		why = "no :scheme";
	else if (!p[P_PATH].seen)
		why = "no :path";
	if (!why && p[P_PATH].seen)
		why = target_fault(h);
	return why ? why : authority_fault(h, p[P_AUTHORITY].seen);
}

int http2_block_request(const struct http2_block *b, bool tls, bool connect, struct http_head *h,
			struct http_refusal *refusal)
{
	struct pseudo known[P_COUNT] = {
		[P_METHOD] = { ":method", &h->method, false },
		[P_SCHEME] = { ":scheme", &h->scheme, false },
		[P_AUTHORITY] = { ":authority", &h->authority, false },
		[P_PATH] = { ":path", &h->target, false },
		[P_PROTOCOL] = { ":protocol", &h->protocol, false },
	};
	const struct http_text none = { "", 0 };
	const char *why = NULL;
	bool many = false;

	h->http2 = true;
	h->minor = 1;
	h->status = 0;
	h->method = h->scheme = h->authority = h->target = h->protocol = h->reason = none;
	if (b->why)
		return refuse(refusal, 431, b->why);
	if (read_fields(b, known, P_COUNT, h, &many, &why) < 0)
		return refuse(refusal, many ? 431 : 400, why);
	why = request_fault(known, connect, h);
	if (why)
		return refuse(refusal, 400, why);
	if (h->method.len > HTTP_METHOD_MAX)
		return refuse(refusal, 501, "method longer than 32 bytes");
	/* Without it the upstream would read a plain CONNECT (RFC 9220 3: 501). */
	if (known[P_PROTOCOL].seen && !http_text_is(h->protocol, "websocket"))
		return refuse(refusal, 501, "a :protocol other than websocket");
	if (known[P_SCHEME].seen && !http_text_is(h->scheme, tls ? "https" : "http"))
		return refuse(refusal, 421, "the target's scheme is not that of the connection");
	if (!known[P_PATH].seen)
		h->target = h->authority; /* authority form, as in HTTP/1 */
	return 0;
}

/* ---- responses and trailers ----------------------------------------------------------------- */

static bool status_parse(struct http_text t, unsigned *ret)
{
	unsigned v = 0;

	if (t.len != 3)
		return false;
	for (size_t i = 0; i < 3; i++) {
		if (t.s[i] < '0' || t.s[i] > '9')
			return false;
		v = v * 10 + (unsigned)(t.s[i] - '0');
	}
	*ret = v;
	return v >= 100;
}

int http2_block_response(const struct http2_block *b, struct http_head *h, const char **ret_why)
{
	const struct http_text none = { "", 0 };
	struct http_text status = none;
	struct pseudo known[] = { { ":status", &status, false } };
	bool many = false;

	h->http2 = true;
	h->minor = 1;
	h->method = h->scheme = h->authority = h->target = h->protocol = h->reason = none;
	*ret_why = b->why;
	if (b->why || read_fields(b, known, 1, h, &many, ret_why) < 0)
		return -EBADMSG;
	if (!status_parse(status, &h->status))
		*ret_why = "no :status of three digits";
	else if (h->status == 101)
		*ret_why = "101 in HTTP/2";
	return *ret_why ? -EBADMSG : 0;
}

int http2_block_trailers(const struct http2_block *b, struct http_head *h, const char **ret_why)
{
	bool many = false;

	h->http2 = true;
	h->minor = 1;
	*ret_why = b->why;
	if (b->why || read_fields(b, NULL, 0, h, &many, ret_why) < 0)
		return -EBADMSG;
	if (b->size > HTTP_TRAILERS_MAX || h->n_fields > HTTP_TRAILER_FIELDS_MAX)
		*ret_why = "too many trailer fields";
	for (size_t i = 0; i < h->n_fields && !*ret_why; i++)
		*ret_why = http_trailer_fault(h->fields[i].name);
	return *ret_why ? -EBADMSG : 0;
}
