/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building the text of one event, without allocation and without failure.
 *
 * Values are hostile: names, paths and headers that a guest chose. The text is
 * always one valid JSON object of printable ASCII, so that a terminal, a line
 * reader and any JSON parser see the same thing: control characters and
 * everything beyond ASCII are \u escapes (surrogate pairs above the BMP), bytes
 * that are not UTF-8 are \u00NN.
 *
 * What does not fit is cut between characters and the event says so. Small
 * members have room of their own, so that a guest cannot push a verdict or a
 * denial id out of the record with a long path.
 */
#include "audit/audit_internal.h"

#include <stdio.h>

enum array_state { ARRAY_NONE = 0, ARRAY_OPEN = 1, ARRAY_SKIPPED = 2 };

/* Strict UTF-8 (RFC 3629): no overlong forms, no surrogates. 0: not UTF-8. */
static size_t utf8_decode(const uint8_t *p, size_t left, uint32_t *ret)
{
	uint32_t c = p[0], min;
	size_t n;

	if (c < 0x80) {
		*ret = c;
		return 1;
	}
	if (c >= 0xc2 && c < 0xe0) {
		n = 2, min = 0x80, c &= 0x1f;
	} else if (c >= 0xe0 && c < 0xf0) {
		n = 3, min = 0x800, c &= 0x0f;
	} else if (c >= 0xf0 && c < 0xf5) {
		n = 4, min = 0x10000, c &= 0x07;
	} else {
		return 0;
	}
	if (left < n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < min || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*ret = c;
	return n;
}

static size_t put_u(char *out, uint32_t unit)
{
	static const char hex[] = "0123456789abcdef";

	out[0] = '\\';
	out[1] = 'u';
	for (int i = 0; i < 4; i++)
		out[2 + i] = hex[unit >> (12 - 4 * i) & 15];
	return 6;
}

/* One character of the input as 1..12 bytes of output; returns input bytes taken. */
static size_t escape_one(const uint8_t *p, size_t left, char out[12], size_t *ret_out)
{
	uint32_t c;
	size_t taken = utf8_decode(p, left, &c);

	if (taken == 0) {
		*ret_out = put_u(out, p[0]);
		return 1;
	}
	if (c == '"' || c == '\\') {
		out[0] = '\\';
		out[1] = (char)c;
		*ret_out = 2;
	} else if (c >= 0x20 && c < 0x7f) {
		out[0] = (char)c;
		*ret_out = 1;
	} else if (c == '\n' || c == '\r' || c == '\t') {
		out[0] = '\\';
		out[1] = c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
		*ret_out = 2;
	} else if (c < 0x10000) {
		*ret_out = put_u(out, c);
	} else {
		*ret_out = put_u(out, 0xd800 + ((c - 0x10000) >> 10));
		*ret_out += put_u(out + 6, 0xdc00 + ((c - 0x10000) & 0x3ff));
	}
	return taken;
}

size_t audit_escape(const char *p, size_t len, char *out, size_t room, size_t *ret_out)
{
	const uint8_t *b = (const uint8_t *)p;
	size_t at = 0, used = 0;

	while (at < len) {
		char one[12];
		size_t n, taken = escape_one(b + at, len - at, one, &n);

		if (n > room - used)
			break;
		if (out)
			memcpy(out + used, one, n);
		used += n;
		at += taken;
	}
	*ret_out = used;
	return at;
}

static void put(struct audit_event *e, const char *p, size_t n)
{
	assert(n <= sizeof(e->text) - e->len);
	memcpy(e->text + e->len, p, n);
	e->len += n;
}

/* Bytes in front of a value: comma and, in an object, the key. */
static size_t prefix_size(const struct audit_event *e, const char *key)
{
	bool first = e->text[e->len - 1] == '{' || e->text[e->len - 1] == '[';

	return (first ? 0 : 1) + (key ? strlen(key) + 3 : 0);
}

static void put_prefix(struct audit_event *e, const char *key)
{
	char last = e->text[e->len - 1];

	if (last != '{' && last != '[')
		put(e, ",", 1);
	if (!key)
		return;
	put(e, "\"", 1);
	put(e, key, strlen(key));
	put(e, "\":", 2);
}

/* Whether n more bytes may be used; small members reach into the reserve. */
static bool has_room(const struct audit_event *e, size_t n, bool small)
{
	size_t limit = sizeof(e->text) - AUDIT_TAIL - (small ? 0 : AUDIT_RESERVE);

	return e->len <= limit && n <= limit - e->len;
}

/* A value that is written whole or not at all. */
static void put_raw(struct audit_event *e, const char *key, const char *value)
{
	size_t n = strlen(value);

	assert(e->array == ARRAY_NONE && key);
	if (!has_room(e, prefix_size(e, key) + n, true)) {
		e->truncated = true;
		return;
	}
	put_prefix(e, key);
	put(e, value, n);
}

void audit_event_begin(struct audit_event *e, const char *kind)
{
	e->len = 0;
	e->truncated = false;
	e->array = ARRAY_NONE;
	e->array_at = 0;
	put(e, "{", 1);
	audit_str(e, "kind", kind);
}

void audit_str(struct audit_event *e, const char *key, const char *value)
{
	audit_strn(e, key, value, value ? strlen(value) : 0);
}

void audit_strn(struct audit_event *e, const char *key, const char *value, size_t len)
{
	size_t taken, esc, prefix, limit;
	bool small;

	if (!value || len == 0 || e->array == ARRAY_SKIPPED)
		return;
	assert((e->array == ARRAY_OPEN) == (key == NULL));
	prefix = prefix_size(e, key);
	taken = audit_escape(value, len, NULL, AUDIT_STRING_MAX, &esc);
	small = key && taken == len && prefix + esc + 2 <= AUDIT_SMALL;
	if (!has_room(e, prefix + esc + 2, small)) {
		limit = sizeof(e->text) - AUDIT_TAIL - AUDIT_RESERVE;
		e->truncated = true;
		/* A list item that is cut would be another item; a stump says nothing. */
		if (!key || e->len + prefix + 2 + AUDIT_SMALL > limit)
			return;
		taken = audit_escape(value, len, NULL, limit - e->len - prefix - 2, &esc);
	}
	if (taken < len)
		e->truncated = true;
	put_prefix(e, key);
	put(e, "\"", 1);
	audit_escape(value, taken, e->text + e->len, esc, &esc);
	e->len += esc;
	put(e, "\"", 1);
}

void audit_u64(struct audit_event *e, const char *key, uint64_t value)
{
	char text[32];

	/* Readers hold integers in 63 bits at best: larger ones keep their digits as text. */
	if (value > INT64_MAX)
		snprintf(text, sizeof(text), "\"%llu\"", (unsigned long long)value);
	else
		snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	put_raw(e, key, text);
}

void audit_bool(struct audit_event *e, const char *key, bool value)
{
	put_raw(e, key, value ? "true" : "false");
}

void audit_ip(struct audit_event *e, const char *key, const struct ip_addr *a)
{
	char text[IP_STRLEN];

	if (a && a->family)
		audit_str(e, key, ip_format(a, text));
}

void audit_array_begin(struct audit_event *e, const char *key)
{
	assert(e->array == ARRAY_NONE && key);
	e->array_at = e->len;
	if (!has_room(e, prefix_size(e, key) + 1, false)) {
		e->array = ARRAY_SKIPPED;
		e->truncated = true;
		return;
	}
	put_prefix(e, key);
	put(e, "[", 1);
	e->array = ARRAY_OPEN;
}

void audit_array_end(struct audit_event *e)
{
	if (e->array == ARRAY_OPEN) {
		if (e->text[e->len - 1] == '[')
			e->len = e->array_at; /* empty: left out */
		else
			put(e, "]", 1);
	}
	e->array = ARRAY_NONE;
}

const char *audit_event_end(struct audit_event *e, size_t *ret_len)
{
	static const char cut[] = ",\"truncated\":true";

	audit_array_end(e);
	if (e->truncated)
		put(e, cut, sizeof(cut) - 1);
	put(e, "}", 1);
	e->text[e->len] = 0;
	*ret_len = e->len;
	return e->text;
}
