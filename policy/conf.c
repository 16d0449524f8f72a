/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files with positions, whatever they are spelt in: choosing the
 * reader, and reading values out of what it made. See conf_internal.h.
 *
 * The file is the operator's, but may have been written by a program on behalf
 * of somebody else: size and depth are bounded, and what is quoted from it in
 * an error carries no control bytes to the terminal.
 */
#include "base/base.h"
#include "policy/conf_internal.h"

#include <stdio.h>
#include <strings.h>

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
struct conf_place conf_doc_place(const struct conf_doc *d, size_t offset)
{
	struct conf_place p = { 1, 1 };

	for (size_t i = 0; i < offset && i < d->len; i++) {
		if (d->text[i] == '\n') {
			p.line++;
			p.col = 1;
		} else if (((unsigned char)d->text[i] & 0xc0) != 0x80) {
			p.col++;
		}
	}
	return p;
}

static void error_at(const struct conf_doc *d, struct conf_place at, struct conf_error *err,
		     const char *fmt, va_list ap) printf_like(4, 0);

static void error_at(const struct conf_doc *d, struct conf_place at, struct conf_error *err,
		     const char *fmt, va_list ap)
{
	char what[sizeof(err->text)];

	vsnprintf(what, sizeof(what), fmt, ap);
	conf_error_set(err, "%s:%u:%u: %s", d->file, at.line, at.col, what);
}

int conf_doc_fail(const struct conf_doc *d, struct conf_place at, struct conf_error *err,
		  const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_at(d, at, err, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- reading -------------------------------------------------------------- */

enum conf_format conf_format_of(const char *path)
{
	const char *dot = strrchr(path, '.');

	if (dot && (strcasecmp(dot, ".yaml") == 0 || strcasecmp(dot, ".yml") == 0))
		return CONF_YAML;
	return dot && strcasecmp(dot, ".toml") == 0 ? CONF_TOML : CONF_JSON;
}

static int doc_build(struct conf_doc *d, enum conf_format format, struct conf_error *err)
{
	const char *nul = memchr(d->text, 0, d->len);

	if (nul)
		return conf_doc_fail(d, conf_doc_place(d, (size_t)(nul - d->text)), err,
				     "a NUL byte in the file");
	if (d->len >= 3 && memcmp(d->text, "\xef\xbb\xbf", 3) == 0)
		return conf_doc_fail(d, conf_doc_place(d, 0), err,
				     "begins with a byte order mark; save it as plain UTF-8");
	switch (format) {
	case CONF_YAML:
		return conf_tree_read(d, conf_yaml_parse, err);
	case CONF_TOML:
		return conf_tree_read(d, conf_toml_parse, err);
	case CONF_JSON:
		break;
	}
	return conf_json_read(d, err);
}

/* Takes over the bytes, whatever comes of it. */
static int doc_new(struct buf *bytes, const char *file, enum conf_format format,
		   struct conf_doc **ret, struct conf_error *err)
{
	struct conf_doc *d = calloc(1, sizeof(*d));
	int r = -ENOMEM;

	if (!d || buf_append(bytes, "", 1) < 0) {
		buf_fini(bytes);
		goto out;
	}
	d->bytes = *bytes;
	d->text = (const char *)buf_at(&d->bytes);
	d->len = d->bytes.len - 1;
	d->file = strdup(file);
	if (d->file)
		r = doc_build(d, format, err);
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

static int too_large(const char *file, struct conf_error *err)
{
	conf_error_set(err, "%s: larger than %zu MiB", file, CONF_FILE_MAX >> 20);
	return -EFBIG;
}

int conf_doc_parse(const char *text, size_t len, const char *file, enum conf_format format,
		   struct conf_doc **ret, struct conf_error *err)
{
	struct buf bytes = BUF_INIT(CONF_FILE_MAX + 1);

	if (len > CONF_FILE_MAX)
		return too_large(file, err);
	if (buf_append(&bytes, text, len) < 0) {
		conf_error_set(err, "%s: out of memory", file);
		return -ENOMEM;
	}
	return doc_new(&bytes, file, format, ret, err);
}

int conf_doc_load(const char *path, struct conf_doc **ret, struct conf_error *err)
{
	struct buf bytes = BUF_INIT(CONF_FILE_MAX + 1);
	int r = file_read(path, CONF_FILE_MAX, &bytes);

	if (r == 0)
		return doc_new(&bytes, path, conf_format_of(path), ret, err);
	buf_fini(&bytes);
	if (r == -EFBIG)
		return too_large(path, err);
	conf_error_set(err, "%s: cannot be read: %s", path, strerror(-r));
	return r;
}

void conf_doc_free(struct conf_doc *d)
{
	if (!d)
		return;
	json_decref(d->root);
	free(d->marks);
	buf_fini(&d->bytes);
	free(d->file);
	free(d);
}

/* The place of c or of its key, or of the innermost thing above it that is in the text. */
static struct conf_place place_of(const struct conf *c, bool want_key)
{
	if (c->doc->marks)
		return conf_marks_find(c, want_key);
	return conf_doc_place(c->doc, conf_json_find(c, want_key));
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
		return conf_doc_fail(m->doc, place_of(m, true), err,
				     "unknown key \"%.64s\"; did you mean \"%s\"?", m->key, like);
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(list);

		snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", keys[i]);
	}
	return conf_doc_fail(m->doc, place_of(m, true), err, "unknown key \"%.64s\"; known are %s",
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
