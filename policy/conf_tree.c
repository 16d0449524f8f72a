/* SPDX-License-Identifier: Apache-2.0 */
/* A json_t tree and the places of its values, from a parser's events. */
#include "base/base.h"
#include "policy/conf_internal.h"

struct conf_tree {
	struct conf_doc *doc;
	struct conf_error *err;
	struct {
		json_t *v; /* owned by what it is in */
		size_t mark;
	} open[CONF_DEPTH_MAX];
	size_t depth, lists;
	char *key; /* of the member to come */
	size_t key_len;
	struct conf_place key_at;
};

static void set_error(struct conf_tree *t, struct conf_place at, const char *fmt, va_list ap)
	printf_like(3, 0);

static void set_error(struct conf_tree *t, struct conf_place at, const char *fmt, va_list ap)
{
	char what[sizeof(t->err->text)];

	vsnprintf(what, sizeof(what), fmt, ap);
	conf_doc_fail(t->doc, at, t->err, "%s", what);
}

int conf_tree_fail(struct conf_tree *t, struct conf_place at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_error(t, at, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int conf_tree_fail_byte(struct conf_tree *t, size_t offset, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_error(t, conf_doc_place(t->doc, offset), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

bool conf_tree_wants_key(const struct conf_tree *t)
{
	return t->depth && json_is_object(t->open[t->depth - 1].v) && !t->key;
}

bool conf_tree_complete(const struct conf_tree *t)
{
	return t->doc->root && t->depth == 0;
}

static int add_mark(struct conf_tree *t, struct conf_place at)
{
	struct conf_doc *d = t->doc;

	if (d->n_marks == CONF_LISTS_MAX + CONF_VALUES_MAX)
		return conf_tree_fail(t, at, "more than %zu values",
				      CONF_LISTS_MAX + CONF_VALUES_MAX);
	if (d->n_marks == d->marks_size) {
		size_t size = d->marks_size ? d->marks_size * 2 : 64;
		struct conf_mark *m = realloc(d->marks, size * sizeof(*m));

		if (!m)
			return -ENOMEM;
		d->marks = m;
		d->marks_size = size;
	}
	d->marks[d->n_marks] = (struct conf_mark){
		.at = at,
		.key_at = t->key ? t->key_at : (struct conf_place){ 0, 0 },
		.next = (uint32_t)d->n_marks + 1,
	};
	d->n_marks++;
	return 0;
}

/* Takes over v. */
static int add(struct conf_tree *t, struct conf_place at, json_t *v)
{
	json_t *up = t->depth ? t->open[t->depth - 1].v : NULL;
	int r = v ? add_mark(t, at) : -ENOMEM;

	if (r < 0) {
		json_decref(v);
		return r;
	}
	if (!up) {
		assert(!t->doc->root);
		t->doc->root = v;
		return 0;
	}
	if (json_is_array(up))
		return json_array_append_new(up, v) < 0 ? -ENOMEM : 0;
	assert(t->key);
	r = json_object_setn_new(up, t->key, t->key_len, v);
	if (r < 0)
		r = conf_tree_fail(t, t->key_at, "a key that is not valid UTF-8");
	free(t->key);
	t->key = NULL;
	return r;
}

int conf_tree_open(struct conf_tree *t, struct conf_place at, bool object)
{
	json_t *v;
	int r;

	if (t->depth == CONF_DEPTH_MAX)
		return conf_tree_fail(t, at, "nested deeper than %d levels", CONF_DEPTH_MAX);
	if (++t->lists > CONF_LISTS_MAX)
		return conf_tree_fail(t, at, "more than %zu objects and lists", CONF_LISTS_MAX);
	v = object ? json_object() : json_array();
	r = add(t, at, v);
	if (r < 0)
		return r;
	t->open[t->depth].v = v;
	t->open[t->depth].mark = t->doc->n_marks - 1;
	t->depth++;
	return 0;
}

int conf_tree_close(struct conf_tree *t)
{
	assert(t->depth && !t->key);
	t->depth--;
	t->doc->marks[t->open[t->depth].mark].next = (uint32_t)t->doc->n_marks;
	return 0;
}

int conf_tree_key(struct conf_tree *t, struct conf_place at, const char *s, size_t len)
{
	assert(conf_tree_wants_key(t));
	if (memchr(s, 0, len))
		return conf_tree_fail(t, at, "a NUL character in a text");
	if (json_object_getn(t->open[t->depth - 1].v, s, len))
		return conf_tree_fail(t, at, "the same key twice in one object; remove one");
	t->key = strndup(s, len);
	t->key_len = len;
	t->key_at = at;
	return t->key ? 0 : -ENOMEM;
}

int conf_tree_text(struct conf_tree *t, struct conf_place at, const char *s, size_t len)
{
	json_t *v;

	if (memchr(s, 0, len))
		return conf_tree_fail(t, at, "a NUL character in a text");
	v = json_stringn(s, len);
	return v ? add(t, at, v) : conf_tree_fail(t, at, "a text that is not valid UTF-8");
}

int conf_tree_integer(struct conf_tree *t, struct conf_place at, int64_t n)
{
	return add(t, at, json_integer(n));
}

int conf_tree_boolean(struct conf_tree *t, struct conf_place at, bool b)
{
	return add(t, at, json_boolean(b));
}

int conf_tree_null(struct conf_tree *t, struct conf_place at)
{
	return add(t, at, json_null());
}

int conf_tree_read(struct conf_doc *d,
		   int (*parse)(struct conf_tree *t, const char *text, size_t len),
		   struct conf_error *err)
{
	struct conf_tree t = { .doc = d, .err = err };
	int r = parse(&t, d->text, d->len);

	free(t.key);
	assert(r < 0 || conf_tree_complete(&t));
	return r;
}

/* ---- finding a value's place ---------------------------------------------- */

/* How many members or elements stand before this one; false: there is none. */
static bool position_of(const struct conf *c, size_t *ret)
{
	const char *key;
	json_t *v;
	size_t n = 0;

	if (!c->v)
		return false;
	if (!c->key) {
		*ret = c->index;
		return true;
	}
	json_object_foreach(c->up->v, key, v)
	{
		if (str_eq(key, c->key)) {
			*ret = n;
			return true;
		}
		n++;
	}
	return false;
}

/* The place of c, or of the innermost thing above it that is in the text. */
struct conf_place conf_marks_find(const struct conf *c, bool want_key)
{
	const struct conf *path[CONF_DEPTH_MAX + 2];
	const struct conf_mark *marks = c->doc->marks;
	size_t n = 0, at = 0, before;
	bool found = false;

	for (const struct conf *i = c; i->up && n < ARRAY_SIZE(path); i = i->up)
		path[n++] = i;
	while (n-- > 0) {
		found = position_of(path[n], &before);
		if (!found)
			break;
		at++;
		while (before-- > 0)
			at = marks[at].next;
	}
	return want_key && found && marks[at].key_at.line ? marks[at].key_at : marks[at].at;
}
