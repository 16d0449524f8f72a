/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regions of names. Sorted from the last label to the first, a name stands right
 * in front of what is below it, so that a walk with a stack finds each parent.
 */
#include "base/base.h"
#include "policy/space.h"

#include "doh_table.h"

struct name_index {
	const char *s;
	uint32_t len;
	bool suffix;
	uint32_t exact, below; /* regions; the suffix's is the one in front of below */
};

/* From the end, label separators before any other character. */
static int compare_reversed(const char *a, size_t na, const char *b, size_t nb)
{
	while (na && nb) {
		unsigned char x = (unsigned char)a[--na], y = (unsigned char)b[--nb];

		if (x != y)
			return (x == '.' ? 0 : x) < (y == '.' ? 0 : y) ? -1 : 1;
	}
	return (na > 0) - (nb > 0);
}

static int compare_index(const void *a, const void *b)
{
	const struct name_index *x = a, *y = b;

	return compare_reversed(x->s, x->len, y->s, y->len);
}

static const struct name_index *find(const struct space *s, const char *name, size_t len)
{
	const struct name_index key = { .s = name, .len = (uint32_t)len };

	return s->n_index ? bsearch(&key, s->index, s->n_index, sizeof(key), compare_index) : NULL;
}

static bool is_below(const struct name_index *n, const struct name_index *up)
{
	return n->len > up->len && n->s[n->len - up->len - 1] == '.' &&
	       memcmp(n->s + n->len - up->len, up->s, up->len) == 0;
}

static void add(struct space *s, const char *name, bool suffix)
{
	s->index[s->n_index++] =
		(struct name_index){ .s = name, .len = (uint32_t)strlen(name), .suffix = suffix };
}

static size_t collect(struct space *s, bool store)
{
	size_t n = 0;

	for (size_t l = 0; l < s->n_lists; l++)
		for (size_t i = 0; i < s->list[l].p->n_rules; i++) {
			const struct policy_rule *r = &s->list[l].p->rules[i];

			if (!r->name)
				continue;
			n++;
			if (store)
				add(s, r->name->s, r->dest != POLICY_DEST_NAME);
		}
	if (!s->has_doh)
		return n;
	if (store) {
		for (size_t i = 0; i < ARRAY_SIZE(doh_names); i++)
			add(s, doh_names[i], false);
		for (size_t i = 0; i < ARRAY_SIZE(doh_suffixes); i++)
			add(s, doh_suffixes[i], true);
	}
	return n + ARRAY_SIZE(doh_names) + ARRAY_SIZE(doh_suffixes);
}

static void merge_equal(struct space *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_index; i++) {
		if (n && compare_index(&s->index[n - 1], &s->index[i]) == 0)
			s->index[n - 1].suffix |= s->index[i].suffix;
		else
			s->index[n++] = s->index[i];
	}
	s->n_index = n;
}

static uint32_t push(struct space *s, enum name_region_kind kind, const char *base, uint32_t parent)
{
	s->names[s->n_names] = (struct name_region){
		.parent = parent, .kind = kind, .base = base, .exists = kind != NAME_SUFFIX
	};
	return (uint32_t)s->n_names++;
}

/* Whether a region holds a name at all, and whether group doh holds it. */
static void finish(struct space *s)
{
	for (uint32_t i = 0; i < s->n_names; i++) {
		struct name_region *r = &s->names[i];
		struct name n;

		if (!r->exists)
			continue;
		/* Only a base that leaves hardly room for a label needs a search. */
		if (r->kind == NAME_BELOW && strlen(r->base) > NAME_MAX_LEN - 8)
			r->exists = space_name_sample(s, i, &n);
		if (s->has_doh && r->exists && space_name_sample(s, i, &n))
			r->doh = policy_doh_name(&n);
	}
}

int space_names_build(struct space *s)
{
	size_t n = collect(s, false), depth = 0;
	uint32_t *stack = calloc(n + 1, sizeof(*stack));

	s->index = calloc(n + 1, sizeof(*s->index));
	s->names = calloc(3 * n + 1, sizeof(*s->names));
	if (!s->index || !s->names || !stack) {
		free(stack);
		return -ENOMEM;
	}
	collect(s, true);
	qsort(s->index, s->n_index, sizeof(*s->index), compare_index);
	merge_equal(s);
	push(s, NAME_OTHER, NULL, SPACE_NONE);
	for (uint32_t i = 0; i < s->n_index; i++) {
		struct name_index *x = &s->index[i];
		uint32_t parent;

		while (depth && !is_below(x, &s->index[stack[depth - 1]]))
			depth--;
		parent = depth ? s->index[stack[depth - 1]].below : 0;
		if (x->suffix) {
			parent = push(s, NAME_SUFFIX, x->s, parent);
			x->below = push(s, NAME_BELOW, x->s, parent);
			stack[depth++] = i;
		}
		x->exact = push(s, NAME_EXACT, x->s, parent);
	}
	free(stack);
	finish(s);
	for (size_t l = 0; l < s->n_lists; l++)
		for (size_t i = 0; i < s->list[l].p->n_rules; i++) {
			const struct policy_rule *r = &s->list[l].p->rules[i];
			const struct name_index *x;

			s->list[l].places[i].name = SPACE_NONE;
			if (!r->name)
				continue;
			x = find(s, r->name->s, r->name->len);
			assert(x);
			s->list[l].places[i].name = r->dest == POLICY_DEST_NAME	    ? x->exact
						    : r->dest == POLICY_DEST_SUFFIX ? x->below - 1
										    : x->below;
		}
	return 0;
}

uint32_t space_name_find(const struct space *s, const struct name *n)
{
	const struct name_index *x = find(s, n->s, n->len);

	if (x)
		return x->exact;
	for (const char *up = strchr(n->s, '.'); up; up = strchr(up + 1, '.')) {
		x = find(s, up + 1, n->len - (size_t)(up + 1 - n->s));
		if (x && x->suffix)
			return x->below;
	}
	return 0;
}

/* The k-th label to try: words that read well, then a, b, ..., aa, ab, ... */
static const char *label(unsigned k, char out[16])
{
	static const char *const words[] = { "www", "api", "x" };
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	size_t at = 15;

	if (k < ARRAY_SIZE(words))
		return words[k];
	k -= ARRAY_SIZE(words);
	out[at] = 0;
	do {
		out[--at] = digits[k % (sizeof(digits) - 1)];
		k /= sizeof(digits) - 1;
	} while (k--);
	return out + at;
}

bool space_name_sample(const struct space *s, uint32_t region, struct name *ret)
{
	static const char *const others[] = { "example.com", "example.org", "example.net" };
	const struct name_region *r = &s->names[region];
	char text[NAME_MAX_LEN + 32], l[16];

	if (r->kind == NAME_EXACT || r->kind == NAME_SUFFIX)
		return name_parse(r->base, strlen(r->base), ret, NULL) == 0;
	/* Each try that fails meets another mentioned name, so the tries are bounded. */
	for (unsigned k = 0; k < s->n_index + 2000; k++) {
		int n;

		if (r->kind == NAME_BELOW)
			n = snprintf(text, sizeof(text), "%s.%s", label(k, l), r->base);
		else if (k < ARRAY_SIZE(others))
			n = snprintf(text, sizeof(text), "%s", others[k]);
		else
			n = snprintf(text, sizeof(text), "%s.example", label(k, l));
		if (n <= NAME_MAX_LEN && name_parse(text, (size_t)n, ret, NULL) == 0 &&
		    space_name_find(s, ret) == region)
			return true;
	}
	return false;
}
