/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Characters as servers write them when they echo: plain, percent-escaped (RFC 3986
 * 2.1, once or several times), in JSON strings (RFC 8259 7, also in JSON inside JSON),
 * as HTML character references; with a break of a line in front. Read one at a time, never
 * more than SECRET_TOKEN_MAX bytes; written again in the same spelling.
 */
#include "tlsproxy/secret_internal.h"

/* Copies up to n bytes from i on; returns how many there are. */
static size_t window_copy(const struct secret_window *w, size_t i, size_t n, uint8_t *ret)
{
	size_t got = 0;

	while (got < n && i < w->n) {
		ret[got++] = secret_window_at(w, i);
		i++;
	}
	return got;
}

bool secret_token_leads(enum secret_lane_kind kind, uint8_t c)
{
	switch (kind) {
	case SECRET_LANE_PERCENT:
	case SECRET_LANE_PERCENT_1:
		return c == '%';
	case SECRET_LANE_FORM:
		return c == '%' || c == '+';
	case SECRET_LANE_JSON:
	case SECRET_LANE_JSON_1:
		return c == '\\';
	case SECRET_LANE_HTML:
		return c == '&';
	case SECRET_LANE_LINES:
		return c == '\\' || c == '\n' || c == '\r';
	default:
		return false;
	}
}

/* What a reader says of n bytes at t. */
enum { LITERAL = 0, MORE = -1 };

static int hex_value(const uint8_t *t, size_t n)
{
	int v = 0;

	for (size_t i = 0; i < n; i++) {
		int d = str_hex_digit(t[i]);

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* Is what there is of n hex digits none? Then it need not be waited for. */
static bool cannot_be_hex(const uint8_t *t, size_t have, size_t n)
{
	return hex_value(t, MIN(have, n)) < 0;
}

/* Length of the escape with *ret_c, LITERAL or MORE. */
static int read_percent(const uint8_t *t, size_t n, bool deep, int *ret_c)
{
	size_t i = 1;

	for (;;) {
		if (n < i + 2) {
			if (n < SECRET_TOKEN_MAX && !cannot_be_hex(t + i, n - i, 2))
				return MORE;
			break;
		}
		*ret_c = hex_value(t + i, 2);
		if (*ret_c < 0)
			break;
		i += 2;
		if (!deep || *ret_c != '%')
			return (int)i;
	}
	/* %25 and no escape behind it: a percent sign. */
	*ret_c = '%';
	return i > 1 ? (int)i : LITERAL;
}

static int json_letter(uint8_t c)
{
	switch (c) {
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case '"':
	case '/':
	case '\'':
		return c;
	default:
		return -1;
	}
}

static int read_json(const uint8_t *t, size_t n, bool deep, int *ret_c)
{
	size_t i = 1, digits;

	while (deep && i < n && t[i] == '\\')
		i++;
	if (i == n)
		return n < SECRET_TOKEN_MAX ? MORE : LITERAL;
	if (t[i] == '\\') {
		*ret_c = '\\';
		return 2;
	}
	if (t[i] != 'u' && t[i] != 'x') {
		*ret_c = json_letter(t[i]);
		return *ret_c < 0 ? LITERAL : (int)i + 1;
	}
	digits = t[i] == 'u' ? 4 : 2;
	i++;
	if (n < i + digits)
		return n < SECRET_TOKEN_MAX && !cannot_be_hex(t + i, n - i, digits) ? MORE : LITERAL;
	*ret_c = hex_value(t + i, digits);
	if (*ret_c < 0)
		return LITERAL;
	if (*ret_c >= 0x80)
		*ret_c = -1;
	return (int)(i + digits);
}

static int reference_value(const uint8_t *t, size_t n)
{
	static const struct {
		const char *name;
		char c;
	} names[] = { { "amp", '&' }, { "lt", '<' }, { "gt", '>' }, { "quot", '"' }, { "apos", '\'' } };
	int v = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strlen(names[i].name) == n && memcmp(names[i].name, t, n) == 0)
			return names[i].c;
	if (n < 2 || t[0] != '#')
		return -1;
	if (t[1] == 'x' || t[1] == 'X')
		return n > 2 ? hex_value(t + 2, n - 2) : -1;
	for (size_t i = 1; i < n; i++) {
		if (t[i] < '0' || t[i] > '9')
			return -1;
		v = v * 10 + (t[i] - '0');
	}
	return v;
}

static int read_html(const uint8_t *t, size_t n, int *ret_c)
{
	size_t i = 1;

	while (i < n && (str_hex_digit(t[i]) >= 0 || t[i] == '#' || (t[i] | 0x20) == 'x' ||
			 (t[i] >= 'a' && t[i] <= 'z')))
		i++;
	if (i == n)
		return n < SECRET_TOKEN_MAX ? MORE : LITERAL;
	if (t[i] != ';')
		return LITERAL;
	*ret_c = reference_value(t + 1, i - 1);
	if (*ret_c < 0)
		return LITERAL;
	if (*ret_c >= 0x80)
		*ret_c = -1;
	return (int)i + 1;
}

static int read_escape(enum secret_lane_kind kind, const uint8_t *t, size_t n, int *ret_c)
{
	switch (kind) {
	case SECRET_LANE_FORM:
		if (t[0] == '+') {
			*ret_c = ' ';
			return 1;
		}
		return read_percent(t, n, true, ret_c);
	case SECRET_LANE_PERCENT:
	case SECRET_LANE_PERCENT_1:
		return read_percent(t, n, kind == SECRET_LANE_PERCENT, ret_c);
	case SECRET_LANE_JSON:
	case SECRET_LANE_JSON_1:
		return read_json(t, n, kind == SECRET_LANE_JSON, ret_c);
	case SECRET_LANE_HTML:
		return read_html(t, n, ret_c);
	default:
		return LITERAL;
	}
}

/* Has it no spelling for a letter: \" and &amp; have none, %XX has. */
static bool has_one_form(const struct secret_token *t)
{
	if (t->raw[0] == '&')
		return t->raw[1] != '#';
	if (t->raw[0] == '\\')
		return !(t->len >= 4 && t->raw[t->len - 3] == 'x') &&
		       !(t->len >= 6 && t->raw[t->len - 5] == 'u');
	return t->raw[0] == '+';
}

static bool read_behind_break(const struct secret_window *w, size_t i, struct secret_token *ret);

bool secret_token_read(enum secret_lane_kind kind, const struct secret_window *w, size_t i,
		       struct secret_token *ret)
{
	size_t n;
	int len, c = -1;

	if (i >= w->n)
		return false;
	if (kind == SECRET_LANE_LINES)
		return read_behind_break(w, i, ret);
	ret->raw[0] = secret_window_at(w, i);
	ret->c = ret->raw[0];
	ret->len = 1;
	ret->skip = 0;
	ret->escaped = ret->one_form = false;
	ret->plain = true;
	if (!secret_token_leads(kind, ret->raw[0]))
		return true;
	n = window_copy(w, i, SECRET_TOKEN_MAX, ret->raw);
	len = read_escape(kind, ret->raw, n, &c);
	if (len == MORE && w->ended && n > 1) {
		/* %25 at the end is a percent sign; anything else that was cut is itself. */
		uint8_t stop[SECRET_TOKEN_MAX] = { 0 };

		memcpy(stop, ret->raw, n);
		len = read_escape(kind, stop, SECRET_TOKEN_MAX, &c);
	}
	if (len == MORE)
		return w->ended;
	if (len == LITERAL)
		return true;
	ret->len = (size_t)len;
	ret->c = c;
	ret->escaped = true;
	ret->plain = false;
	ret->one_form = has_one_form(ret);
	return true;
}

/* ---- lines ----------------------------------------------------------------------------- */

/* Bytes of the break at i, 0: none stands there. False: more is needed. */
static bool read_break(const struct secret_window *w, size_t i, size_t *ret_len)
{
	struct secret_token t, next;

	*ret_len = 0;
	if (!secret_token_read(SECRET_LANE_JSON, w, i, &t))
		return i >= w->n && w->ended;
	if (t.c == '\r' && !secret_token_read(SECRET_LANE_JSON, w, i + t.len, &next) && !w->ended)
		return false;
	if (t.c == '\r' && i + t.len < w->n && next.c == '\n')
		t.len += next.len;
	if ((t.c == '\r' || t.c == '\n') && t.len <= SECRET_BREAK_MAX)
		*ret_len = t.len;
	return true;
}

/* A character with the break in front of it, if there is one; a break at the end is itself. */
static bool read_behind_break(const struct secret_window *w, size_t i, struct secret_token *ret)
{
	size_t skip;

	if (!secret_token_leads(SECRET_LANE_LINES, secret_window_at(w, i)))
		return secret_token_read(SECRET_LANE_TEXT, w, i, ret);
	if (!read_break(w, i, &skip))
		return false;
	if (!skip || (w->ended && i + skip >= w->n))
		return secret_token_read(SECRET_LANE_JSON, w, i, ret);
	if (!secret_token_read(SECRET_LANE_JSON, w, i + skip, ret))
		return false;
	memmove(ret->raw + skip, ret->raw, ret->len);
	window_copy(w, i, skip, ret->raw);
	ret->skip = skip;
	ret->len += skip;
	ret->escaped = true;
	return true;
}

/* ---- writing ------------------------------------------------------------------------- */

static void put_hex(uint8_t *at, uint8_t c, bool upper)
{
	const char *hex = upper ? "0123456789ABCDEF" : "0123456789abcdef";

	at[0] = (uint8_t)hex[c >> 4];
	at[1] = (uint8_t)hex[c & 15];
}

static void put_decimal(uint8_t *at, size_t width, uint8_t c)
{
	/* One that needs more digits than there are: any other will do. */
	if (width < 3 && c > 99)
		c = width == 2 ? 'A' : '\t';
	for (size_t i = width; i-- > 0; c /= 10)
		at[i] = (uint8_t)('0' + c % 10);
}

size_t secret_token_like(const struct secret_token *t, uint8_t c, uint8_t *out)
{
	const uint8_t *raw = t->raw + t->skip;
	bool upper = false;

	memcpy(out, t->raw, t->len);
	if (t->c == c || t->one_form)
		return t->len;
	if (t->plain) {
		out[t->skip] = c;
		return t->len;
	}
	for (size_t i = t->skip; i < t->len; i++)
		upper |= t->raw[i] >= 'A' && t->raw[i] <= 'F';
	if (raw[0] != '&')
		put_hex(out + t->len - 2, c, upper);
	else if ((raw[2] | 0x20) == 'x' && t->len >= 6)
		put_hex(out + t->len - 3, c, upper);
	else if ((raw[2] | 0x20) != 'x')
		put_decimal(out + 2, t->len - 3, c);
	return t->len;
}

static size_t put_text(uint8_t *out, const char *text)
{
	size_t n = strlen(text);

	memcpy(out, text, n);
	return n;
}

size_t secret_token_write(enum secret_lane_kind kind, uint8_t c, uint8_t *out)
{
	switch (kind) {
	case SECRET_LANE_PERCENT:
	case SECRET_LANE_PERCENT_1:
	case SECRET_LANE_FORM:
		return secret_escape(SECRET_ALL_PERCENT, &c, 1, out);
	case SECRET_LANE_JSON:
	case SECRET_LANE_JSON_1:
	case SECRET_LANE_LINES:
		return secret_escape(SECRET_IN_JSON, &c, 1, out);
	case SECRET_LANE_HTML:
		if (c == '&')
			return put_text(out, "&amp;");
		if (c == '<')
			return put_text(out, "&lt;");
		if (c == '>')
			return put_text(out, "&gt;");
		if (c == '"')
			return put_text(out, "&quot;");
		if (c == '\'')
			return put_text(out, "&#39;");
		break;
	default:
		break;
	}
	out[0] = c;
	return 1;
}

/* ---- base64 ---------------------------------------------------------------------------- */

static enum secret_lane_kind kind_of_lead(uint8_t c)
{
	if (c == '%')
		return SECRET_LANE_PERCENT;
	return secret_token_leads(SECRET_LANE_LINES, c) ? SECRET_LANE_LINES : SECRET_LANE_TEXT;
}

bool secret_token_base64(const struct secret_window *w, size_t i, struct secret_token *ret)
{
	if (i >= w->n || !secret_token_read(kind_of_lead(secret_window_at(w, i)), w, i, ret))
		return false;
	if (ret->c >= 0 && secret_base64_bits((uint8_t)ret->c) < 0)
		ret->c = -1;
	return true;
}

size_t secret_break_before(const struct secret_window *w, size_t from, size_t end)
{
	for (size_t len = SECRET_BREAK_MAX; len > 0; len--) {
		struct secret_window upto = *w;
		size_t n;

		upto.n = end;
		upto.ended = true;
		if (end >= from + len && read_break(&upto, end - len, &n) && n == len)
			return end - len;
	}
	return end;
}

bool secret_token_before(const struct secret_window *w, size_t from, size_t end,
			 struct secret_token *ret, size_t *ret_end)
{
	end = secret_break_before(w, from, end);
	*ret_end = end;
	/* \u002f, %2F, \/, /: the longest that ends there. */
	for (size_t len = 6; len > 0; len--)
		if (end >= from + len && secret_token_base64(w, end - len, ret) &&
		    ret->len == len && !ret->skip && ret->c >= 0)
			return true;
	return false;
}
