/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canonical form of a request that AWS signatures are made over:
 *
 *   METHOD \n path \n sorted query \n name:value\n … \n signed names \n payload
 *
 * Written into storage that is reserved at once, as what is signed may hold
 * values. Work is linear in the head but for the query's parameters, which are
 * few enough to be sorted, and the signed names, which are looked up.
 */
#include "tlsproxy/sign.h"

static bool is_unreserved(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
	       c == '.' || c == '_' || c == '~';
}

/* All that appends goes through here: there is room, it was reserved. */
static void put(struct buf *out, const void *p, size_t n)
{
	assert(out->size - out->off - out->len >= n);
	if (n)
		memcpy(buf_at(out) + out->len, p, n);
	out->len += n;
}

static void put_escaped(struct buf *out, uint8_t c, bool slash)
{
	static const char digits[] = "0123456789ABCDEF";
	char e[3] = { '%', digits[c >> 4], digits[c & 15] };

	if (is_unreserved(c) || (slash && c == '/'))
		put(out, &c, 1);
	else
		put(out, e, 3);
}

/* The byte at s[*i], an escape taken as what it stands for. */
static uint8_t unescape(struct http_text t, size_t *i)
{
	int hi, lo;

	if (t.s[*i] != '%' || t.len - *i < 3)
		return (uint8_t)t.s[(*i)++];
	hi = str_hex_digit((uint8_t)t.s[*i + 1]);
	lo = str_hex_digit((uint8_t)t.s[*i + 2]);
	if (hi < 0 || lo < 0)
		return (uint8_t)t.s[(*i)++];
	*i += 3;
	return (uint8_t)(hi << 4 | lo);
}

static void put_canonical(struct buf *out, struct http_text t, bool slash)
{
	for (size_t i = 0; i < t.len;)
		put_escaped(out, unescape(t, &i), slash);
}

static void put_again(struct buf *out, struct http_text t)
{
	for (size_t i = 0; i < t.len; i++)
		put_escaped(out, (uint8_t)t.s[i], true);
}

/* ---- the path --------------------------------------------------------------------------- */

/* "/a//./b/../c/" is "/a/c/"; what is written already is cut back for "..". */
static void put_normal(struct buf *out, struct http_text t)
{
	size_t start = out->len;

	for (size_t i = 0; i < t.len;) {
		size_t n = 0;

		while (i + n < t.len && t.s[i + n] != '/')
			n++;
		if (n == 2 && memcmp(t.s + i, "..", 2) == 0) {
			while (out->len > start && buf_at(out)[--out->len] != '/')
				;
		} else if (n && !(n == 1 && t.s[i] == '.')) {
			put(out, "/", 1);
			put_again(out, (struct http_text){ t.s + i, n });
		}
		i += n;
		i += i < t.len;
	}
	if (out->len == start || (t.len && t.s[t.len - 1] == '/'))
		put(out, "/", 1);
}

static void put_path(struct buf *out, struct http_text path, enum sign_aws_path how)
{
	if (path.len == 0)
		path = (struct http_text){ "/", 1 };
	switch (how) {
	case SIGN_AWS_PATH_NORMAL:
		put_normal(out, path);
		break;
	case SIGN_AWS_PATH_AGAIN:
		put_again(out, path);
		break;
	case SIGN_AWS_PATH_PLAIN:
		put_canonical(out, path, true);
		break;
	case SIGN_AWS_PATH_SENT:
		put(out, path.s, path.len);
		break;
	}
	put(out, "\n", 1);
}

/* ---- the query --------------------------------------------------------------------------- */

struct param {
	struct http_text name, value;
};

static int text_order(struct http_text a, struct http_text b)
{
	size_t n = MIN(a.len, b.len);
	int r = n ? memcmp(a.s, b.s, n) : 0;

	return r ? r : a.len < b.len ? -1 : a.len > b.len;
}

static int param_order(const void *x, const void *y)
{
	const struct param *a = x, *b = y;
	int r = text_order(a->name, b->name);

	return r ? r : text_order(a->value, b->value);
}

/* In canonical form at the end of scratch, which has room. */
static struct http_text canonical(struct http_text t, bool sent, struct buf *scratch)
{
	size_t start = scratch->len;

	if (sent)
		return t;
	put_canonical(scratch, t, false);
	return (struct http_text){ (char *)buf_at(scratch) + start, scratch->len - start };
}

/* The parameters of the query, but for the signature itself. -E2BIG. */
static int split_query(struct http_text query, const struct sign_aws *a, bool sent,
		       struct buf *scratch, struct param *ret, size_t *ret_n)
{
	size_t n = 0;

	while (query.len) {
		const char *amp = memchr(query.s, '&', query.len);
		struct http_text p = { query.s, amp ? (size_t)(amp - query.s) : query.len };
		const char *eq = p.len ? memchr(p.s, '=', p.len) : NULL;
		struct http_text name = { p.s, eq ? (size_t)(eq - p.s) : p.len };
		struct http_text value = { eq ? eq + 1 : "", eq ? p.len - name.len - 1 : 0 };

		query.s += p.len + (amp != NULL);
		query.len -= p.len + (amp != NULL);
		if (!p.len || (a->in_query && http_text_is(name, "X-Amz-Signature")))
			continue;
		if (n == SIGN_PARAMS_MAX)
			return -E2BIG;
		ret[n].name = canonical(name, sent, scratch);
		ret[n++].value = canonical(value, sent, scratch);
	}
	*ret_n = n;
	return 0;
}

static int put_query(struct buf *out, struct http_text query, const struct sign_aws *a, bool sent)
{
	cleanup_free struct param *params = calloc(SIGN_PARAMS_MAX, sizeof(*params));
	struct buf scratch = BUF_INIT(3 * query.len + 1);
	uint8_t *room;
	size_t n = 0;
	int r = params ? buf_reserve(&scratch, 3 * query.len + 1, &room) : -ENOMEM;

	if (r == 0)
		r = split_query(query, a, sent, &scratch, params, &n);
	if (r == 0 && n)
		qsort(params, n, sizeof(*params), param_order);
	for (size_t i = 0; r == 0 && i < n; i++) {
		put(out, "&", i > 0);
		put(out, params[i].name.s, params[i].name.len);
		put(out, "=", 1);
		put(out, params[i].value.s, params[i].value.len);
	}
	if (r == 0)
		put(out, "\n", 1);
	buf_fini_wiped(&scratch);
	return r;
}

/* ---- fields ---------------------------------------------------------------------------------- */

static bool text_ieq(struct http_text a, struct http_text b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++) {
		char x = a.s[i], y = b.s[i];

		x = (char)(x >= 'A' && x <= 'Z' ? x + 32 : x);
		y = (char)(y >= 'A' && y <= 'Z' ? y + 32 : y);
		if (x != y)
			return false;
	}
	return true;
}

/* Runs of white space are one space. */
static void put_value(struct buf *out, struct http_text t)
{
	bool gap = false, begun = false;

	for (size_t i = 0; i < t.len; i++) {
		bool blank = t.s[i] == ' ' || t.s[i] == '\t';

		if (!blank) {
			put(out, " ", gap && begun);
			put(out, t.s + i, 1);
			begun = true;
		}
		gap = blank;
	}
}

bool sign_aws_has(const struct sign_message *m, struct http_text name)
{
	if (http_text_is(name, "host"))
		return true;
	for (size_t i = 0; i < m->n_fields; i++)
		if (text_ieq(m->fields[i].name, name))
			return true;
	return false;
}

static void put_field(struct buf *out, const struct sign_message *m, struct http_text name)
{
	size_t n = 0;

	put(out, name.s, name.len);
	put(out, ":", 1);
	if (http_text_is(name, "host"))
		put_value(out, m->host);
	else
		for (size_t i = 0; i < m->n_fields; i++) {
			if (!text_ieq(m->fields[i].name, name))
				continue;
			put(out, ",", n++ > 0);
			put_value(out, m->fields[i].value);
		}
	put(out, "\n", 1);
}

static int put_fields(struct buf *out, const struct sign_message *m, const struct sign_aws *a,
		      bool lenient)
{
	struct http_text rest = a->names, name;

	while (sign_aws_next_name(&rest, &name)) {
		if (sign_aws_has(m, name))
			put_field(out, m, name);
		else if (!lenient)
			return -EBADMSG;
	}
	put(out, "\n", 1);
	rest = a->names;
	for (size_t n = 0; sign_aws_next_name(&rest, &name);) {
		if (!sign_aws_has(m, name))
			continue;
		put(out, ";", n++ > 0);
		put(out, name.s, name.len);
	}
	put(out, "\n", 1);
	return 0;
}

/* ---- the whole --------------------------------------------------------------------------------- */

/* An upper bound: escaping makes three of one, twice escaped is not three times longer again. */
static size_t room_for(const struct sign_message *m, const struct sign_aws *a)
{
	size_t n = m->method.len + 3 * m->target.len + m->host.len + 3 * a->names.len +
		   a->payload.len + SIGN_HEX_LEN + 64;

	for (size_t i = 0; i < m->n_fields; i++)
		n += m->fields[i].name.len + m->fields[i].value.len + 4;
	return n;
}

int sign_aws_canonical(const struct sign_message *m, const struct sign_aws *a,
		       const struct sign_aws_style *style, struct http_text payload, bool lenient,
		       struct buf *out)
{
	const char *mark = m->target.len ? memchr(m->target.s, '?', m->target.len) : NULL;
	struct http_text path = { m->target.s, mark ? (size_t)(mark - m->target.s) : m->target.len };
	struct http_text query = { mark ? mark + 1 : "", mark ? m->target.len - path.len - 1 : 0 };
	uint8_t *room;
	int r = buf_reserve(out, room_for(m, a) + payload.len, &room);

	if (r < 0)
		return r;
	put(out, m->method.s, m->method.len);
	put(out, "\n", 1);
	put_path(out, path, style->path);
	r = put_query(out, query, a, style->query_sent);
	if (r == 0)
		r = put_fields(out, m, a, lenient);
	if (r == 0)
		put(out, payload.s, payload.len);
	return r;
}
