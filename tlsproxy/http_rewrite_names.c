/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of fields: paths of keys, matched as the keys come. A path read so far stands
 * in front of some keys of a name, as ** may stand for any number: a set of positions,
 * one bit each, and one more for the end. Stepping is one look at each name.
 */
#include "tlsproxy/http_rewrite_int.h"

struct part {
	uint16_t at, len; /* in text, escapes undone */
	bool any;	  /* * */
	bool deep;	  /* ** */
};
struct field_name {
	char raw[HTTP_FIELD_KEY_MAX]; /* as it was given */
	size_t raw_len;
	char text[HTTP_FIELD_KEY_MAX];
	struct part parts[HTTP_FIELD_PARTS_MAX];
	size_t n;
};
struct http_field_names {
	struct field_name *names[HTTP_FIELD_NAMES_MAX];
	size_t n;
};

int http_field_names_new(struct http_field_names **ret)
{
	struct http_field_names *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	*ret = f;
	return 0;
}

void http_field_names_free(struct http_field_names *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n; i++)
		free(f->names[i]);
	free(f);
}

size_t field_names_count(const struct http_field_names *names)
{
	return names->n;
}

/* ---- reading a name ---------------------------------------------------------------------- */

struct reader {
	const char *s, *end;
	struct field_name *name;
	size_t text_len;
	const char *why;
};

static bool refuse(struct reader *r, const char *why)
{
	r->why = why;
	return false;
}

/* Up to the part's end: a dot or a bracket outside of brackets, the closing one inside. */
static bool read_part(struct reader *r, bool bracket)
{
	struct part *p = &r->name->parts[r->name->n];
	bool escaped = false;

	if (r->name->n == HTTP_FIELD_PARTS_MAX)
		return refuse(r, "too many keys in one field name");
	*p = (struct part){ .at = (uint16_t)r->text_len };
	while (r->s < r->end && *r->s != ']' && (bracket || (*r->s != '.' && *r->s != '['))) {
		if (*r->s == '\\') {
			escaped = true;
			if (++r->s == r->end)
				return refuse(r, "a backslash at the end of a field name");
		}
		r->name->text[r->text_len++] = *r->s++;
	}
	p->len = (uint16_t)(r->text_len - p->at);
	if (p->len == 0)
		return refuse(r, "an empty key in a field name");
	p->any = !escaped && p->len == 1 && r->name->text[p->at] == '*';
	p->deep = !escaped && p->len == 2 && memcmp(r->name->text + p->at, "**", 2) == 0;
	r->name->n++;
	return true;
}

/* KEY, then any of .KEY and [KEY]. */
static bool read_name(struct reader *r)
{
	bool bracket = false;

	for (bool first = true; first || r->s < r->end; first = false) {
		if (!first) {
			bracket = *r->s == '[';
			if (*r->s != '.' && !bracket)
				return refuse(r, "a bracket in a field name that does not pair");
			r->s++;
		}
		if (!read_part(r, bracket))
			return false;
		if (bracket && (r->s == r->end || *r->s++ != ']'))
			return refuse(r, "a bracket in a field name that does not pair");
	}
	return true;
}

static int find_raw(const struct http_field_names *f, const char *s, size_t len)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->names[i]->raw_len == len && memcmp(f->names[i]->raw, s, len) == 0)
			return (int)i;
	return -1;
}

int http_field_names_add(struct http_field_names *f, const char *s, size_t len, unsigned *ret_index,
			 const char **ret_why)
{
	struct reader r = { .s = s, .end = s + len };
	int known = find_raw(f, s, len);

	if (known >= 0) {
		*ret_index = (unsigned)known;
		return 0;
	}
	if (len > HTTP_FIELD_KEY_MAX) {
		*ret_why = "a field name that is too long";
		return -EINVAL;
	}
	if (f->n == HTTP_FIELD_NAMES_MAX)
		return -ENOSPC;
	r.name = calloc(1, sizeof(*r.name));
	if (!r.name)
		return -ENOMEM;
	if (!read_name(&r)) {
		free(r.name);
		*ret_why = r.why;
		return -EINVAL;
	}
	memcpy(r.name->raw, s, len);
	r.name->raw_len = len;
	f->names[f->n] = r.name;
	*ret_index = (unsigned)f->n++;
	return 0;
}

/* ---- matching ------------------------------------------------------------------------------- */

/* ** stands for no key as well. */
static field_set closed(const struct field_name *n, field_set s)
{
	for (size_t i = 0; i < n->n; i++)
		if ((s & 1u << i) && n->parts[i].deep)
			s |= 2u << i;
	return s;
}

static field_set step(const struct field_name *n, field_set s, const char *key, size_t len)
{
	field_set to = 0;

	for (size_t i = 0; s && i < n->n; i++, s >>= 1) {
		const struct part *p = &n->parts[i];

		if (!(s & 1))
			continue;
		if (p->deep)
			to |= 1u << i;
		else if (p->any || (key && p->len == len && memcmp(n->text + p->at, key, len) == 0))
			to |= 2u << i;
	}
	return closed(n, to);
}

void field_sets_begin(const struct http_field_names *names, field_set *ret)
{
	for (size_t i = 0; i < names->n; i++)
		ret[i] = closed(names->names[i], 1);
}

void field_sets_step(const struct http_field_names *names, const field_set *from, const char *key,
		     size_t len, field_set *ret)
{
	for (size_t i = 0; i < names->n; i++)
		ret[i] = from[i] ? step(names->names[i], from[i], key, len) : 0;
}

uint64_t field_sets_match(const struct http_field_names *names, const field_set *at)
{
	uint64_t m = 0;

	for (size_t i = 0; i < names->n; i++)
		if (at[i] & 1u << names->names[i]->n)
			m |= UINT64_C(1) << i;
	return m;
}

uint64_t field_names_of_key(const struct http_field_names *names, const char *key, size_t len)
{
	uint64_t m = 0;

	for (size_t i = 0; i < names->n; i++) {
		const struct field_name *n = names->names[i];
		bool raw = n->raw_len == len && memcmp(n->raw, key, len) == 0;

		if (raw || (step(n, closed(n, 1), key, len) & 1u << n->n))
			m |= UINT64_C(1) << i;
	}
	return m;
}

void field_key_add(struct field_key *k, uint8_t c)
{
	if (k->len < sizeof(k->s))
		k->s[k->len++] = (char)c;
	else
		k->odd = true;
}
