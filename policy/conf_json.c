/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON files with positions.
 *
 * jansson parses and owns the values. It keeps no positions, so a complaint
 * about a value finds its place by walking the text again along the path of
 * `struct conf`: the text is known to be valid JSON with unique keys by then,
 * which makes that walk short. It costs a scan per error, nothing per value.
 */
#include "base/base.h"
#include "policy/conf_internal.h"

/*
 * Depth and number of values, before a recursive parser that allocates for each
 * sees the text. Brackets and commas in strings do not count.
 */
static int check_size(const struct conf_doc *d, struct conf_error *err)
{
	size_t lists = 0, values = 0;
	bool in_string = false;
	int depth = 0;

	for (size_t i = 0; i < d->len; i++) {
		char c = d->text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > CONF_DEPTH_MAX)
				return conf_doc_fail(d, conf_doc_place(d, i), err,
						     "nested deeper than %d levels", CONF_DEPTH_MAX);
			if (++lists > CONF_LISTS_MAX)
				return conf_doc_fail(d, conf_doc_place(d, i), err,
						     "more than %zu objects and lists",
						     CONF_LISTS_MAX);
		} else if (c == '}' || c == ']') {
			depth--;
		} else if (c == ',' && ++values > CONF_VALUES_MAX) {
			return conf_doc_fail(d, conf_doc_place(d, i), err, "more than %zu values",
					     CONF_VALUES_MAX);
		}
	}
	return 0;
}

/* jansson reports the end of the offending token: go back to where it starts. */
static size_t token_start(const struct conf_doc *d, const json_error_t *e)
{
	size_t at = e->position > 0 ? MIN((size_t)e->position, d->len) : 0;
	const char *near = strstr(e->text, " near '");
	size_t n;

	if (at >= 2 && d->text[at - 1] == '"') {
		/* A quote inside a string has a backslash before it, the opening one has not. */
		size_t i = at - 1;

		while (i-- > 0)
			if (d->text[i] == '"' && (i == 0 || d->text[i - 1] != '\\'))
				return i;
	}
	if (!near)
		return at;
	near += strlen(" near '");
	n = strlen(near);
	if (n-- == 0 || n > at || memcmp(d->text + at - n, near, n) != 0)
		return at;
	return at - n;
}

static int syntax_error(const struct conf_doc *d, const json_error_t *e, struct conf_error *err)
{
	size_t start = token_start(d, e);
	struct conf_place at = conf_doc_place(d, start);

	switch (json_error_code(e)) {
	case json_error_duplicate_key:
		return conf_doc_fail(d, at, err, "the same key twice in one object; remove one");
	case json_error_end_of_input_expected:
		return conf_doc_fail(d, at, err, "text after the end of the JSON value");
	case json_error_premature_end_of_input:
		return conf_doc_fail(d, conf_doc_place(d, d->len), err,
				     "the file ends in the middle of a value");
	case json_error_null_character:
	case json_error_null_byte_in_key:
		return conf_doc_fail(d, at, err, "a NUL character in a text");
	default:
		return conf_doc_fail(d, at, err, "not valid JSON: %s", e->text);
	}
}

int conf_json_read(struct conf_doc *d, struct conf_error *err)
{
	json_error_t je = { 0 };
	int r = check_size(d, err);

	if (r < 0)
		return r;
	d->root = json_loadb(d->text, d->len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
	return d->root ? 0 : syntax_error(d, &je, err);
}

/* ---- finding a value's place ---------------------------------------------- */

/*
 * The walkers below run only over text that jansson has accepted. They still
 * check the end, so that a disagreement shows a wrong place, not a wrong read.
 */
static size_t skip_space(const struct conf_doc *d, size_t at)
{
	while (at < d->len && strchr(" \t\r\n", d->text[at]))
		at++;
	return at;
}

static size_t skip_string(const struct conf_doc *d, size_t at)
{
	for (at++; at < d->len && d->text[at] != '"'; at++)
		if (d->text[at] == '\\')
			at++;
	return MIN(at + 1, d->len);
}

static size_t skip_value(const struct conf_doc *d, size_t at)
{
	size_t depth = 0;

	while (at < d->len) {
		char c = d->text[at];

		if (c == '"') {
			at = skip_string(d, at);
			if (depth == 0)
				return at;
			continue;
		}
		if (c == '{' || c == '[') {
			depth++;
		} else if (c == '}' || c == ']') {
			if (depth == 0)
				return at; /* end of the enclosing one: a scalar ended */
			if (--depth == 0)
				return at + 1;
		} else if (depth == 0 && strchr(", \t\r\n", c)) {
			return at;
		}
		at++;
	}
	return at;
}

/* Does the quoted key at [at, end) spell `key`? Escapes are jansson's business. */
static bool key_is(const struct conf_doc *d, size_t at, size_t end, const char *key)
{
	size_t n = end - at;
	json_t *v;
	bool same;

	if (!memchr(d->text + at, '\\', n))
		return n >= 2 && strlen(key) == n - 2 && memcmp(d->text + at + 1, key, n - 2) == 0;
	v = json_loadb(d->text + at, n, JSON_DECODE_ANY, NULL);
	same = json_is_string(v) && str_eq(json_string_value(v), key);
	json_decref(v);
	return same;
}

/* From '{' at `at` to the member `key`: its key, or its value. */
static bool find_member(const struct conf_doc *d, size_t at, const char *key, bool want_key,
			size_t *ret)
{
	at = skip_space(d, at + 1);
	while (at < d->len && d->text[at] == '"') {
		size_t key_at = at, key_end = skip_string(d, at);

		at = skip_space(d, skip_space(d, key_end) + 1); /* past the colon */
		if (key_is(d, key_at, key_end, key)) {
			*ret = want_key ? key_at : at;
			return true;
		}
		at = skip_space(d, skip_value(d, at));
		if (at >= d->len || d->text[at] != ',')
			return false;
		at = skip_space(d, at + 1);
	}
	return false;
}

static bool find_element(const struct conf_doc *d, size_t at, size_t index, size_t *ret)
{
	at = skip_space(d, at + 1);
	while (index-- > 0) {
		at = skip_space(d, skip_value(d, at));
		if (at >= d->len || d->text[at] != ',')
			return false;
		at = skip_space(d, at + 1);
	}
	*ret = at;
	return true;
}

/* The place of c, or of the innermost thing above it that is in the text. */
size_t conf_json_find(const struct conf *c, bool want_key)
{
	const struct conf *path[CONF_DEPTH_MAX + 2];
	const struct conf_doc *d = c->doc;
	size_t n = 0, at = skip_space(d, 0);

	for (const struct conf *i = c; i->up && n < ARRAY_SIZE(path); i = i->up)
		path[n++] = i;
	while (n-- > 0) {
		const struct conf *i = path[n];
		char open = at < d->len ? d->text[at] : 0;

		if (i->key ? open != '{' || !find_member(d, at, i->key, want_key && n == 0, &at)
			   : open != '[' || !find_element(d, at, i->index, &at))
			break;
	}
	return at;
}
