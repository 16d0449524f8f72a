/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The meaning of a collected section: start line and fields, RFC 9112 without
 * its tolerances. Single spaces, no folding, no space before a colon, token
 * names. Texts point into the collected bytes.
 */
#include "tlsproxy/http_internal.h"

bool http_text_is(struct http_text t, const char *s)
{
	return t.len == strlen(s) && memcmp(t.s, s, t.len) == 0;
}

bool http_text_among(struct http_text t, const struct http_text *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (http_text_same(t, names[i]))
			return true;
	return false;
}

bool http_is_token_char(uint8_t c)
{
	static const bool is[256] = {
		['0' ... '9'] = true, ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['!'] = true,
		['#'] = true,	      ['$'] = true,	    ['%'] = true,	  ['&'] = true,
		['\''] = true,	      ['*'] = true,	    ['+'] = true,	  ['-'] = true,
		['.'] = true,	      ['^'] = true,	    ['_'] = true,	  ['`'] = true,
		['|'] = true,	      ['~'] = true,
	};

	return is[c];
}

static bool is_token(struct http_text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (!http_is_token_char((uint8_t)t.s[i]))
			return false;
	return t.len > 0;
}

/* The collector guarantees a CRLF behind every line and none inside. */
static bool next_line(struct http_text *rest, struct http_text *ret)
{
	const char *cr = rest->len ? memchr(rest->s, '\r', rest->len) : NULL;

	if (!cr)
		return false;
	ret->s = rest->s;
	ret->len = (size_t)(cr - rest->s);
	rest->s = cr + 2;
	rest->len -= ret->len + 2;
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Content_Length is Content-Length to a CGI server. */
bool http_field_disguised(struct http_text name)
{
	char plain[32];

	if (name.len >= sizeof(plain) || !memchr(name.s, '_', name.len))
		return false;
	for (size_t i = 0; i < name.len; i++)
		plain[i] = name.s[i] == '_' ? '-' : name.s[i];
	return http_field_is_framing((struct http_text){ plain, name.len });
}

static int field_parse(struct http_text line, struct http_field *ret, const char **ret_why)
{
	const char *colon = memchr(line.s, ':', line.len);
	struct http_field f;

	if (is_blank(line.s[0])) {
		*ret_why = "folded field line";
		return -EBADMSG;
	}
	if (!colon) {
		*ret_why = "field line without colon";
		return -EBADMSG;
	}
	f.name = (struct http_text){ line.s, (size_t)(colon - line.s) };
	f.value = (struct http_text){ colon + 1, line.len - f.name.len - 1 };
	if (f.name.len && is_blank(f.name.s[f.name.len - 1])) {
		*ret_why = "space before the colon of a field";
		return -EBADMSG;
	}
	if (!is_token(f.name)) {
		*ret_why = "a field name is not a token";
		return -EBADMSG;
	}
	if (http_field_disguised(f.name)) {
		*ret_why = "a field name that some servers read as a framing field";
		return -EBADMSG;
	}
	while (f.value.len && is_blank(f.value.s[0])) {
		f.value.s++;
		f.value.len--;
	}
	while (f.value.len && is_blank(f.value.s[f.value.len - 1]))
		f.value.len--;
	f.sensitive = false;
	*ret = f;
	return 0;
}

/* Texts that the other kind of head has. */
static void clear(struct http_head *h)
{
	h->method = h->target = h->reason = (struct http_text){ "", 0 };
	h->scheme = h->authority = h->protocol = (struct http_text){ "", 0 };
	h->target_sensitive = h->http2 = h->absolute = false;
	h->status = h->minor = 0;
}

static int fields_parse(struct http_text rest, struct http_head *h, const char **ret_why)
{
	struct http_text line;
	int r;

	h->n_fields = 0;
	while (next_line(&rest, &line)) {
		if (h->n_fields == HTTP_FIELDS_MAX) {
			*ret_why = "too many fields";
			return -EBADMSG;
		}
		r = field_parse(line, &h->fields[h->n_fields], ret_why);
		if (r < 0)
			return r;
		h->n_fields++;
	}
	return 0;
}

static struct http_text collected(const struct http_collect *c)
{
	if (c->bytes.len == 0)
		return (struct http_text){ "", 0 };
	return (struct http_text){ (const char *)buf_at(&c->bytes), c->bytes.len };
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* HTTP/d.d; 505 when it is one that is not ours. */
static int version_parse(struct http_text t, unsigned *ret_minor, struct http_refusal *refusal)
{
	if (t.len != 8 || memcmp(t.s, "HTTP/", 5) != 0 || !is_digit(t.s[5]) || t.s[6] != '.' ||
	    !is_digit(t.s[7])) {
		*refusal = (struct http_refusal){ 400, "no HTTP version in the request line" };
		return -EBADMSG;
	}
	if (t.s[5] != '1' || t.s[7] > '1') {
		*refusal = (struct http_refusal){ 505, "HTTP version is neither 1.0 nor 1.1" };
		return -EBADMSG;
	}
	*ret_minor = (unsigned)(t.s[7] - '0');
	return 0;
}

int http_head_request(const struct http_collect *c, struct http_head *h, struct http_refusal *refusal)
{
	struct http_text rest = collected(c), line, version;
	const char *sp1, *sp2;

	clear(h);
	*refusal = (struct http_refusal){ 400, "malformed request line" };
	if (!next_line(&rest, &line))
		return -EBADMSG;
	sp1 = memchr(line.s, ' ', line.len);
	sp2 = sp1 ? memchr(sp1 + 1, ' ', line.len - (size_t)(sp1 + 1 - line.s)) : NULL;
	if (!sp2)
		return -EBADMSG;
	h->method = (struct http_text){ line.s, (size_t)(sp1 - line.s) };
	h->target = (struct http_text){ sp1 + 1, (size_t)(sp2 - sp1 - 1) };
	version = (struct http_text){ sp2 + 1, line.len - (size_t)(sp2 + 1 - line.s) };
	if (!is_token(h->method)) {
		refusal->why = "the method is not a token";
		return -EBADMSG;
	}
	if (h->method.len > HTTP_METHOD_MAX) {
		*refusal = (struct http_refusal){ 501, "method longer than 32 bytes" };
		return -EBADMSG;
	}
	if (version_parse(version, &h->minor, refusal) < 0)
		return -EBADMSG;
	for (size_t i = 0; i < h->target.len; i++) {
		uint8_t b = (uint8_t)h->target.s[i];

		if (b <= ' ' || b >= 0x7f || b == '#') {
			refusal->why = b == '#' ? "fragment in the request target"
						: "request target with a character no URI has";
			return -EBADMSG;
		}
	}
	if (h->target.len == 0)
		return -EBADMSG;
	return fields_parse(rest, h, &refusal->why);
}

int http_head_response(const struct http_collect *c, struct http_head *h, const char **ret_why)
{
	struct http_text rest = collected(c), line;

	clear(h);
	*ret_why = "malformed status line";
	if (!next_line(&rest, &line) || line.len < 12 || memcmp(line.s, "HTTP/1.", 7) != 0 ||
	    line.s[7] < '0' || line.s[7] > '1' || line.s[8] != ' ')
		return -EBADMSG;
	for (size_t i = 9; i < 12; i++)
		if (!is_digit(line.s[i]))
			return -EBADMSG;
	if (line.len > 12 && line.s[12] != ' ')
		return -EBADMSG;
	h->minor = (unsigned)(line.s[7] - '0');
	h->status = (unsigned)((line.s[9] - '0') * 100 + (line.s[10] - '0') * 10 + line.s[11] - '0');
	if (h->status < 100)
		return -EBADMSG;
	h->reason = (struct http_text){ line.s + MIN(line.len, (size_t)13),
					line.len > 13 ? line.len - 13 : 0 };
	return fields_parse(rest, h, ret_why);
}

const char *http_trailer_fault(struct http_text name)
{
	if (http_field_is_framing(name))
		return "a framing or routing field among the trailers";
	/* Judged they were without it; a server that merges them would read it. */
	return http_field_overrides(name) ? "an override of method or target among the trailers"
					  : NULL;
}

int http_head_trailers(const struct http_collect *c, struct http_head *h, const char **ret_why)
{
	int r;

	clear(h);
	r = fields_parse(collected(c), h, ret_why);
	for (size_t i = 0; r == 0 && i < h->n_fields; i++) {
		*ret_why = http_trailer_fault(h->fields[i].name);
		r = *ret_why ? -EBADMSG : 0;
	}
	return r;
}

size_t http_field_find(const struct http_head *h, const char *name, struct http_text *ret)
{
	const struct http_text wanted = { name, strlen(name) };
	size_t n = 0;

	for (size_t i = 0; i < h->n_fields; i++)
		if (http_text_same(h->fields[i].name, wanted) && n++ == 0)
			*ret = h->fields[i].value;
	return n;
}

static bool list_has(struct http_text list, struct http_text token)
{
	while (list.len) {
		const char *comma = memchr(list.s, ',', list.len);
		struct http_text item = { list.s, comma ? (size_t)(comma - list.s) : list.len };

		list.s += item.len + (comma != NULL);
		list.len -= item.len + (comma != NULL);
		while (item.len && is_blank(item.s[0])) {
			item.s++;
			item.len--;
		}
		while (item.len && is_blank(item.s[item.len - 1]))
			item.len--;
		if (http_text_same(item, token))
			return true;
	}
	return false;
}

bool http_field_lists(const struct http_head *h, const char *name, struct http_text token)
{
	const struct http_text wanted = { name, strlen(name) };

	for (size_t i = 0; i < h->n_fields; i++)
		if (http_text_same(h->fields[i].name, wanted) && list_has(h->fields[i].value, token))
			return true;
	return false;
}

bool http_field_has_token(const struct http_head *h, const char *name, const char *token)
{
	return http_field_lists(h, name, (struct http_text){ token, strlen(token) });
}

static void keep_text(struct http_text *t, char **at)
{
	if (t->len)
		memcpy(*at, t->s, t->len);
	t->s = *at;
	*at += t->len;
}

struct http_head *http_head_copy(const struct http_head *h)
{
	size_t n = h->method.len + h->target.len + h->scheme.len + h->authority.len +
		   h->protocol.len + h->reason.len;
	struct http_head *c;
	char *at;

	for (size_t i = 0; i < h->n_fields; i++)
		n += h->fields[i].name.len + h->fields[i].value.len;
	c = malloc(sizeof(*c) + n);
	if (!c)
		return NULL;
	*c = *h;
	at = (char *)(c + 1);
	keep_text(&c->method, &at);
	keep_text(&c->target, &at);
	keep_text(&c->scheme, &at);
	keep_text(&c->authority, &at);
	keep_text(&c->protocol, &at);
	keep_text(&c->reason, &at);
	for (size_t i = 0; i < h->n_fields; i++) {
		keep_text(&c->fields[i].name, &at);
		keep_text(&c->fields[i].value, &at);
	}
	return c;
}
