/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fields that speak of codings: Content-Encoding (RFC 9110 8.4) and
 * Accept-Encoding (12.5.3).
 */
#include "tlsproxy/http_coding.h"

static const struct {
	const char *name;
	enum http_coding coding;
} known[] = {
	{ "gzip", HTTP_CODING_GZIP }, { "deflate", HTTP_CODING_DEFLATE }, { "br", HTTP_CODING_BR },
	{ "zstd", HTTP_CODING_ZSTD }, { "x-gzip", HTTP_CODING_GZIP },
};

const char *http_coding_name(enum http_coding c)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].coding == c)
			return known[i].name;
	return "identity";
}

/* 0: none of ours. */
static enum http_coding coding_find(const char *s, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (str_ieq(s, len, known[i].name))
			return known[i].coding;
	return 0;
}

static bool is_tchar(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_tchar(s[i]))
			return false;
	return len > 0;
}

static void trim(const char **s, size_t *len)
{
	while (*len && (**s == ' ' || **s == '\t')) {
		(*s)++;
		(*len)--;
	}
	while (*len && ((*s)[*len - 1] == ' ' || (*s)[*len - 1] == '\t'))
		(*len)--;
}

/* The next member of a comma-separated list, trimmed; may be empty. */
static bool list_next(const char **s, size_t *len, bool *more, const char **ret, size_t *ret_len)
{
	const char *comma;

	if (!*more)
		return false;
	comma = *len ? memchr(*s, ',', *len) : NULL;
	*ret = *s;
	*ret_len = comma ? (size_t)(comma - *s) : *len;
	*more = comma != NULL;
	if (comma) {
		*len -= *ret_len + 1;
		*s = comma + 1;
	}
	trim(ret, ret_len);
	return true;
}

int http_codings_add(struct http_codings *list, const char *s, size_t len)
{
	struct http_codings l = *list;
	const char *t;
	size_t n;
	bool more = true;

	while (list_next(&s, &len, &more, &t, &n)) {
		enum http_coding c = coding_find(t, n);

		if (n == 0 || str_ieq(t, n, "identity"))
			continue;
		if (!is_token(t, n))
			return -EINVAL;
		if (!c || l.n == HTTP_CODINGS_MAX)
			return -ENOTSUP;
		l.list[l.n++] = c;
	}
	*list = l;
	return 0;
}

/* qvalue (RFC 9110 12.4.2): 0[.ddd] or 1[.000]. */
static bool qvalue_parse(const char *s, size_t len, bool *ret_zero)
{
	bool zero = true;

	if (len < 1 || len > 5 || (s[0] != '0' && s[0] != '1') || (len > 1 && s[1] != '.'))
		return false;
	for (size_t i = 2; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		zero &= s[i] == '0';
	}
	if (s[0] == '1' && !zero)
		return false;
	*ret_zero = s[0] == '0' && zero;
	return true;
}

/* CODING or CODING;q=W, with white space around the semicolon. */
static bool member_parse(const char *s, size_t len, size_t *ret_coding_len, bool *ret_refuses)
{
	const char *semi = memchr(s, ';', len), *w = semi ? semi + 1 : NULL;
	size_t n = semi ? (size_t)(semi - s) : len, w_len = semi ? len - n - 1 : 0;

	trim(&s, &n);
	*ret_coding_len = n;
	*ret_refuses = false;
	if (!is_token(s, n) || !semi)
		return is_token(s, n);
	trim(&w, &w_len);
	return w_len > 2 && str_ieq(w, 2, "q=") && qvalue_parse(w + 2, w_len - 2, ret_refuses);
}

int http_coding_accept(const char *s, size_t len, struct buf *out)
{
	const char *t;
	size_t n, name, written = 0;
	bool more = true, refuses;
	int r = 0;

	while (r == 0 && list_next(&s, &len, &more, &t, &n)) {
		if (n == 0 || !member_parse(t, n, &name, &refuses))
			continue;
		if (!coding_find(t, name) && !str_ieq(t, name, "identity") &&
		    !(refuses && str_ieq(t, name, "*")))
			continue;
		r = buf_append(out, ", ", written++ ? 2 : 0);
		if (r == 0)
			r = buf_append(out, t, n);
	}
	if (r == 0 && written == 0)
		r = buf_append_str(out, "identity");
	return r;
}
