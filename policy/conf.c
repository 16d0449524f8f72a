/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON files with positions.
 *
 * jansson parses and owns the values. It keeps no positions, so a complaint
 * about a value finds its place by walking the text again along the path of
 * `struct conf`: the text is known to be valid JSON with unique keys by then,
 * which makes that walk short. It costs a scan per error, nothing per value.
 *
 * The file is the operator's, but may have been written by a program on behalf
 * of somebody else: size and depth are bounded, and what is quoted from it in
 * an error carries no control bytes to the terminal.
 */
#include "base/base.h"
#include "policy/policy.h"
#include "policy/policy_limits.h"

#include <stdio.h>

struct conf_doc {
	char *file;
	char *text;
	size_t len;
	json_t *root;
};

/* ---- errors --------------------------------------------------------------- */

/* Text from a file reaches a terminal through here: no control bytes, C1 included. */
static void make_printable(char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)s[0];

		if (c == 0xc2 && ((unsigned char)s[1] & 0xe0) == 0x80)
			s[0] = s[1] = '?';
		else if (c < 0x20 || c == 0x7f)
			s[0] = '?';
	}
}

void conf_error_set(struct conf_error *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	make_printable(e->text);
}

/* Line and column (in characters) count from 1. */
static void line_and_column(const struct conf_doc *d, size_t at, unsigned *ret_line, unsigned *ret_col)
{
	unsigned line = 1, col = 1;

	for (size_t i = 0; i < at && i < d->len; i++) {
		if (d->text[i] == '\n') {
			line++;
			col = 1;
		} else if (((unsigned char)d->text[i] & 0xc0) != 0x80) {
			col++;
		}
	}
	*ret_line = line;
	*ret_col = col;
}

static void error_at(const struct conf_doc *d, size_t at, struct conf_error *err, const char *fmt,
		     va_list ap) printf_like(4, 0);

static void error_at(const struct conf_doc *d, size_t at, struct conf_error *err, const char *fmt,
		     va_list ap)
{
	unsigned line, col;
	char what[sizeof(err->text)];

	line_and_column(d, at, &line, &col);
	vsnprintf(what, sizeof(what), fmt, ap);
	conf_error_set(err, "%s:%u:%u: %s", d->file, line, col, what);
}

static int fail_at(const struct conf_doc *d, size_t at, struct conf_error *err, const char *fmt, ...)
	printf_like(4, 5);

static int fail_at(const struct conf_doc *d, size_t at, struct conf_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_at(d, at, err, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- reading -------------------------------------------------------------- */

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
				return fail_at(d, i, err, "nested deeper than %d levels",
					       CONF_DEPTH_MAX);
			if (++lists > CONF_LISTS_MAX)
				return fail_at(d, i, err, "more than %zu objects and lists",
					       CONF_LISTS_MAX);
		} else if (c == '}' || c == ']') {
			depth--;
		} else if (c == ',' && ++values > CONF_VALUES_MAX) {
			return fail_at(d, i, err, "more than %zu values", CONF_VALUES_MAX);
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
	size_t at = token_start(d, e);

	switch (json_error_code(e)) {
	case json_error_duplicate_key:
		return fail_at(d, at, err, "the same key twice in one object; remove one");
	case json_error_end_of_input_expected:
		return fail_at(d, at, err, "text after the end of the JSON value");
	case json_error_premature_end_of_input:
		return fail_at(d, d->len, err, "the file ends in the middle of a value");
	case json_error_null_character:
	case json_error_null_byte_in_key:
		return fail_at(d, at, err, "a NUL character in a text");
	default:
		return fail_at(d, at, err, "not valid JSON: %s", e->text);
	}
}

/* Takes over text, which is d->len bytes plus a NUL. */
static int doc_build(struct conf_doc *d, struct conf_error *err)
{
	json_error_t je = { 0 };
	const char *nul = memchr(d->text, 0, d->len);
	int r;

	if (nul)
		return fail_at(d, (size_t)(nul - d->text), err, "a NUL byte in the file");
	if (d->len >= 3 && memcmp(d->text, "\xef\xbb\xbf", 3) == 0)
		return fail_at(d, 0, err, "begins with a byte order mark; save it as plain UTF-8");
	r = check_size(d, err);
	if (r < 0)
		return r;
	d->root = json_loadb(d->text, d->len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
	if (!d->root)
		return syntax_error(d, &je, err);
	return 0;
}

int conf_doc_parse(const char *text, size_t len, const char *file, struct conf_doc **ret,
		   struct conf_error *err)
{
	struct conf_doc *d;
	int r = -ENOMEM;

	if (len > CONF_FILE_MAX) {
		conf_error_set(err, "%s: larger than %zu MiB", file, CONF_FILE_MAX >> 20);
		return -EFBIG;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		goto out;
	d->file = strdup(file);
	d->text = malloc(len + 1);
	d->len = len;
	if (!d->file || !d->text)
		goto out;
	if (len)
		memcpy(d->text, text, len);
	d->text[len] = 0;
	r = doc_build(d, err);
out:
	if (r == -ENOMEM)
		conf_error_set(err, "%s: out of memory", file);
	if (r < 0) {
		conf_doc_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

int conf_doc_load(const char *path, struct conf_doc **ret, struct conf_error *err)
{
	struct buf b = BUF_INIT(CONF_FILE_MAX);
	int r = file_read(path, CONF_FILE_MAX, &b);

	if (r == -EFBIG || r == -ENOBUFS)
		conf_error_set(err, "%s: larger than %zu MiB", path, CONF_FILE_MAX >> 20);
	else if (r < 0)
		conf_error_set(err, "%s: cannot be read: %s", path, strerror(-r));
	else
		r = conf_doc_parse(b.len ? (const char *)buf_at(&b) : "", b.len, path, ret, err);
	buf_fini(&b);
	return r;
}

void conf_doc_free(struct conf_doc *d)
{
	if (!d)
		return;
	json_decref(d->root);
	free(d->text);
	free(d->file);
	free(d);
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
static size_t place_of(const struct conf *c, bool want_key)
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

int conf_fail(const struct conf *c, struct conf_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_at(c->doc, place_of(c, false), err, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- typed reads ----------------------------------------------------------- */

struct conf conf_root(const struct conf_doc *d)
{
	return (struct conf){ .doc = d, .v = d->root };
}

struct conf conf_member(const struct conf *up, const char *key)
{
	return (struct conf){
		.doc = up->doc,
		.up = up,
		.key = key,
		.v = json_is_object(up->v) ? json_object_get(up->v, key) : NULL,
	};
}

struct conf conf_element(const struct conf *up, size_t index)
{
	return (struct conf){
		.doc = up->doc,
		.up = up,
		.index = index,
		.v = json_is_array(up->v) ? json_array_get(up->v, index) : NULL,
	};
}

static const char *type_name(const json_t *v)
{
	switch (v ? json_typeof(v) : JSON_NULL) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "a number";
	case JSON_REAL:
		return "a fraction";
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	default:
		return "null";
	}
}

/* Says what was meant, or else what there is to choose from. */
static int unknown_key(const struct conf *m, const char *const *keys, size_t n, struct conf_error *err)
{
	const char *like = str_suggest(m->key, keys, n);
	char list[400] = "";

	if (like)
		return fail_at(m->doc, place_of(m, true), err,
			       "unknown key \"%.64s\"; did you mean \"%s\"?", m->key, like);
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(list);

		snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", keys[i]);
	}
	return fail_at(m->doc, place_of(m, true), err, "unknown key \"%.64s\"; known are %s",
		       m->key, list);
}

int conf_only_keys(const struct conf *c, const char *const *keys, size_t n, struct conf_error *err)
{
	const char *key;
	json_t *v;

	if (!json_is_object(c->v))
		return conf_fail(c, err, "expected an object, not %s", type_name(c->v));
	json_object_foreach(c->v, key, v)
	{
		struct conf m = conf_member(c, key);
		size_t i = 0;

		while (i < n && !str_eq(keys[i], key))
			i++;
		if (i < n)
			continue;
		return unknown_key(&m, keys, n, err);
	}
	return 0;
}

int conf_str(const struct conf *c, const char **ret, struct conf_error *err)
{
	if (!c->v)
		return 0;
	if (!json_is_string(c->v))
		return conf_fail(c, err, "expected a string, not %s", type_name(c->v));
	*ret = json_string_value(c->v);
	return 0;
}

int conf_bool(const struct conf *c, bool *ret, struct conf_error *err)
{
	if (!c->v)
		return 0;
	if (!json_is_boolean(c->v))
		return conf_fail(c, err, "expected true or false, not %s", type_name(c->v));
	*ret = json_is_true(c->v);
	return 0;
}

int conf_uint(const struct conf *c, uint64_t min, uint64_t max, uint64_t *ret, struct conf_error *err)
{
	json_int_t n;

	if (!c->v)
		return 0;
	if (!json_is_integer(c->v))
		return conf_fail(c, err, "expected a whole number, not %s", type_name(c->v));
	n = json_integer_value(c->v);
	if (n < 0 || (uint64_t)n < min || (uint64_t)n > max)
		return conf_fail(c, err, "%" JSON_INTEGER_FORMAT " is not from %llu to %llu", n,
				 (unsigned long long)min, (unsigned long long)max);
	*ret = (uint64_t)n;
	return 0;
}
