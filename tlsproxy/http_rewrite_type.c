/* SPDX-License-Identifier: Apache-2.0 */
/* What a Content-Type (RFC 9110 8.3) says of a body's fields; parameters of such values. */
#include "tlsproxy/http_rewrite_int.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_tchar(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_space(struct part_text *s)
{
	while (s->len && is_space(*s->s)) {
		s->s++;
		s->len--;
	}
}

static struct part_text take(struct part_text *s, size_t n)
{
	struct part_text t = { s->s, n };

	s->s += n;
	s->len -= n;
	return t;
}

static struct part_text take_token(struct part_text *s)
{
	size_t n = 0;

	while (n < s->len && is_tchar(s->s[n]))
		n++;
	return take(s, n);
}

struct part_text part_head(struct part_text *s)
{
	struct part_text t;
	size_t n = 0;

	skip_space(s);
	while (n < s->len && s->s[n] != ';')
		n++;
	t = take(s, n);
	while (t.len && is_space(t.s[t.len - 1]))
		t.len--;
	return t;
}

/* The opening quote has been seen. */
static int take_quoted(struct part_text *s, struct part_text *ret)
{
	size_t n = 0;

	take(s, 1);
	while (n < s->len && s->s[n] != '"') {
		unsigned char c = (unsigned char)s->s[n++];

		if (c == '\\' || (c < 0x20 && c != '\t') || c == 0x7f)
			return -EINVAL;
	}
	if (n == s->len)
		return -EINVAL;
	*ret = take(s, n);
	take(s, 1);
	return 0;
}

int part_param_next(struct part_text *s, struct part_text *ret_name, struct part_text *ret_value)
{
	skip_space(s);
	if (s->len == 0)
		return 0;
	if (*s->s != ';')
		return -EINVAL;
	take(s, 1);
	skip_space(s);
	*ret_name = take_token(s);
	if (ret_name->len == 0 || s->len < 2 || *s->s != '=')
		return -EINVAL;
	take(s, 1);
	if (*s->s == '"')
		return take_quoted(s, ret_value) < 0 ? -EINVAL : 1;
	*ret_value = take_token(s);
	return ret_value->len ? 1 : -EINVAL;
}

/* RFC 2046 5.1.1. */
static bool boundary_valid(struct part_text b)
{
	if (b.len == 0 || b.len > HTTP_BOUNDARY_MAX || b.s[b.len - 1] == ' ')
		return false;
	for (size_t i = 0; i < b.len; i++) {
		char c = b.s[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    !(c && strchr("'()+_,-./:=? ", c)))
			return false;
	}
	return true;
}

static enum http_rewrite_kind kind_of(struct part_text type)
{
	size_t n = type.len;

	if (str_ieq(type.s, n, "application/json") || str_ieq(type.s, n, "text/json") ||
	    (n > 5 && str_ieq(type.s + n - 5, 5, "+json")))
		return HTTP_REWRITE_JSON;
	if (str_ieq(type.s, n, "application/x-www-form-urlencoded"))
		return HTTP_REWRITE_FORM;
	if (str_ieq(type.s, n, "multipart/form-data"))
		return HTTP_REWRITE_MULTIPART;
	return HTTP_REWRITE_NONE;
}

enum http_rewrite_kind http_rewrite_kind(const char *s, size_t len, const char **ret_boundary,
					 size_t *ret_boundary_len)
{
	struct part_text t = { s, len }, name, value, boundary = { 0 };
	enum http_rewrite_kind kind = kind_of(part_head(&t));
	int r;

	while ((r = part_param_next(&t, &name, &value)) > 0) {
		bool is_boundary = str_ieq(name.s, name.len, "boundary");

		/* In another charset other bytes may be the quotes. */
		if (str_ieq(name.s, name.len, "charset") && !str_ieq(value.s, value.len, "utf-8") &&
		    !str_ieq(value.s, value.len, "us-ascii"))
			return HTTP_REWRITE_NONE;
		if (is_boundary && boundary.s)
			return HTTP_REWRITE_NONE;
		if (is_boundary)
			boundary = value;
	}
	if (r < 0)
		return HTTP_REWRITE_NONE;
	if (kind == HTTP_REWRITE_MULTIPART) {
		if (!boundary.s || !boundary_valid(boundary))
			return HTTP_REWRITE_NONE;
		*ret_boundary = boundary.s;
		*ret_boundary_len = boundary.len;
	}
	return kind;
}
