/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fields of bodies: the bytes come out as they went in and the same of them are named
 * however they are cut; what jansson takes for JSON is valid here too, and its strings
 * that a name is for, by a matcher of its own over its tree, are the ones named.
 *
 * First byte: bits 0..1 kind, 2 and up the cut. The boundary of multipart is "b".
 */
#include "tlsproxy/http_limits.h"
#include "tlsproxy/http_rewrite.h"

#include <stdio.h>

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = { "**", "t", "**.t", "*.t", "a.**.t", "l.1", "\\*", "a[b]" };
#define N_NAMES ARRAY_SIZE(names)

static struct http_field_names *the_names(void)
{
	static struct http_field_names *f;
	const char *why;
	unsigned at;
	int r;

	if (f)
		return f;
	r = http_field_names_new(&f);
	assert(r == 0);
	for (size_t i = 0; i < N_NAMES; i++) {
		r = http_field_names_add(f, names[i], strlen(names[i]), &at, &why);
		assert(r == 0 && at == i);
	}
	return f;
}

/* ---- reading ------------------------------------------------------------------------------ */

/* What was named, by byte. */
struct seen {
	uint8_t *bytes;
	uint64_t *names;
	size_t n, size;
	bool valid;
};

static void take(struct seen *s, const struct http_segment *seg, uint64_t *last, uint64_t *end)
{
	assert(seg->n > 0 && s->n + seg->n <= s->size);
	assert(!*last || !seg->names || (*last == seg->names && *end == seg->at));
	assert(*last || seg->at == 0);
	*last = seg->names;
	*end = seg->at + seg->n;
	memcpy(s->bytes + s->n, seg->p, seg->n);
	for (size_t i = 0; i < seg->n; i++)
		s->names[s->n++] = seg->names;
}

static void read_all(enum http_rewrite_kind kind, const uint8_t *p, size_t n, unsigned cut,
		     struct seen *s)
{
	uint64_t last = 0, end = 0;
	struct http_rewrite *w;
	struct http_segment seg;
	uint32_t seed = cut;
	int r = http_rewrite_new(kind, the_names(), "b", 1, &w);

	assert(r == 0);
	*s = (struct seen){ .bytes = malloc(n + 1), .names = calloc(n + 1, 8), .size = n };
	assert(s->bytes && s->names);
	for (size_t at = 0; at < n;) {
		size_t k = cut == 0 ? n : cut == 1 ? 1 : 1 + (seed >> 16) % cut;
		struct rd in = rd_init(p + at, k < n - at ? k : n - at);

		seed = seed * 1664525u + 1013904223u;
		at += rd_left(&in);
		while (http_rewrite_next(w, &in, &seg))
			take(s, &seg, &last, &end);
		assert(rd_left(&in) == 0 && s->n + http_rewrite_held(w) == at);
	}
	while (http_rewrite_end(w, &seg))
		take(s, &seg, &last, &end);
	s->valid = http_rewrite_valid(w);
	assert(s->n == n);
	http_rewrite_free(w);
}

static void seen_fini(struct seen *s)
{
	free(s->bytes);
	free(s->names);
}

/* ---- against jansson --------------------------------------------------------------------------- */

struct walk {
	const struct seen *seen;
	size_t at;
	const char *keys[HTTP_FIELD_DEPTH];
	size_t lens[HTTP_FIELD_DEPTH];
};

/* The names above, once more, for a path of keys. */
static bool key_is(const struct walk *w, size_t i, const char *s)
{
	return w->lens[i] == strlen(s) && memcmp(w->keys[i], s, w->lens[i]) == 0;
}

static uint64_t expected(const struct walk *w, size_t n)
{
	uint64_t m = 1;

	m |= (uint64_t)(n == 1 && key_is(w, 0, "t")) << 1;
	m |= (uint64_t)(n >= 1 && key_is(w, n - 1, "t")) << 2;
	m |= (uint64_t)(n == 2 && key_is(w, 1, "t")) << 3;
	m |= (uint64_t)(n >= 2 && key_is(w, 0, "a") && key_is(w, n - 1, "t")) << 4;
	m |= (uint64_t)(n == 2 && key_is(w, 0, "l") && key_is(w, 1, "1")) << 5;
	m |= (uint64_t)(n == 1 && key_is(w, 0, "*")) << 6;
	m |= (uint64_t)(n == 2 && key_is(w, 0, "a") && key_is(w, 1, "b")) << 7;
	return m;
}

/* The next run of named bytes is this string; empty ones make no run. */
static void check_string(struct walk *w, const json_t *v, size_t depth)
{
	const struct seen *s = w->seen;
	char *quoted;
	size_t from, n;
	json_t *got;

	if (json_string_length(v) == 0)
		return;
	while (w->at < s->n && !s->names[w->at])
		w->at++;
	for (from = w->at; w->at < s->n && s->names[w->at]; w->at++)
		assert(s->names[w->at] == expected(w, depth));
	n = w->at - from;
	assert(n > 0);
	quoted = malloc(n + 2);
	assert(quoted);
	quoted[0] = quoted[n + 1] = '"';
	memcpy(quoted + 1, s->bytes + from, n);
	got = json_loadb(quoted, n + 2, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	assert(got && json_equal(got, v));
	json_decref(got);
	free(quoted);
}

/* False: deeper than is read. */
static bool depth_ok(json_t *v, size_t depth)
{
	const char *key;
	json_t *e;
	size_t i;

	if (!json_is_object(v) && !json_is_array(v))
		return true;
	if (depth == HTTP_FIELD_DEPTH)
		return false;
	json_object_foreach(v, key, e) if (!depth_ok(e, depth + 1)) return false;
	json_array_foreach(v, i, e) if (!depth_ok(e, depth + 1)) return false;
	return true;
}

static void walk(struct walk *w, json_t *v, size_t depth)
{
	char digits[24];
	const char *key;
	json_t *e;
	size_t i;

	if (json_is_string(v))
		check_string(w, v, depth);
	json_object_foreach(v, key, e)
	{
		w->keys[depth] = key;
		w->lens[depth] = json_object_iter_key_len(json_object_key_to_iter(key));
		walk(w, e, depth + 1);
	}
	json_array_foreach(v, i, e)
	{
		w->keys[depth] = digits;
		w->lens[depth] = (size_t)snprintf(digits, sizeof(digits), "%zu", i);
		walk(w, e, depth + 1);
	}
}

static void check_json(const uint8_t *p, size_t n, const struct seen *s)
{
	struct walk w = { .seen = s };
	json_t *v = json_loadb((const char *)p, n,
			       JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);

	if (!v)
		return;
	/* To jansson the text ends with a NUL byte. */
	if (depth_ok(v, 0) && !memchr(p, 0, n)) {
		assert(s->valid);
		walk(&w, v, 0);
		while (w.at < s->n)
			assert(!s->names[w.at++]);
	}
	json_decref(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum http_rewrite_kind kind;
	struct seen one, other;

	if (size < 1 || size > 65536)
		return 0;
	kind = (enum http_rewrite_kind)(data[0] & 3);
	read_all(kind, data + 1, size - 1, 0, &one);
	assert(one.n == 0 || memcmp(one.bytes, data + 1, one.n) == 0);
	for (unsigned cut = 1; cut < 3; cut++) {
		read_all(kind, data + 1, size - 1, cut == 1 ? 1 : 2 + (data[0] >> 2), &other);
		assert(other.valid == one.valid);
		assert(one.n == 0 || memcmp(one.bytes, other.bytes, one.n) == 0);
		assert(one.n == 0 || memcmp(one.names, other.names, one.n * 8) == 0);
		seen_fini(&other);
	}
	if (kind == HTTP_REWRITE_JSON)
		check_json(data + 1, size - 1, &one);
	seen_fini(&one);
	return 0;
}
