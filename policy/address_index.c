/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prefixes that rules are about. Prefixes nest or are disjoint, so they cut the
 * line of addresses into spans that have one narrowest prefix each, and each
 * prefix knows the next wider one. An address is looked up once among the spans;
 * all prefixes around it are then a chain of at most 33 or 129, in which the least
 * rule counts, not the narrowest prefix: the first match wins.
 *
 * Spans of IPv6 are kept by the upper 64 bits; where prefixes longer than /64 cut
 * one, a slice of lower halves follows. A table over the upper bits of the keys
 * says where to look; what it leaves is a binary search: of a few keys when they are
 * spread, of 21 steps when a million lie side by side.
 */
#include "base/base.h"
#include "policy/index.h"

/* An address as a number; IPv4 is all in hi. */
struct point {
	uint64_t hi, lo;
};

static uint64_t get_be64(const uint8_t *b)
{
	return (uint64_t)get_be32(b) << 32 | get_be32(b + 4);
}

static struct point point_of(const struct ip_addr *a)
{
	if (a->family == 4)
		return (struct point){ get_be32(a->b), 0 };
	return (struct point){ get_be64(a->b), get_be64(a->b + 8) };
}

/* ---- look-up --------------------------------------------------------------------- */

static const uint64_t *keys_of(const struct vec *v)
{
	return v->p;
}

/* The last of n keys at or before this one; the first is. */
static size_t last_before(const uint64_t *keys, size_t n, uint64_t key)
{
	size_t lo = 0;

	while (n > 1) {
		size_t half = n / 2;

		lo += keys[lo + half] <= key ? half : 0;
		n -= half;
	}
	return lo;
}

static size_t find_key(const struct address_index *x, uint64_t key)
{
	size_t from = x->tops[key >> x->shift], to = x->tops[(key >> x->shift) + 1];

	/* The span at the start of these upper bits may have begun before them. */
	from -= from > 0;
	return from + last_before(keys_of(&x->keys) + from, to - from, key);
}

static uint32_t find_low(const struct address_index *x, const struct address_slice *s, uint64_t key)
{
	const uint64_t *k = keys_of(&x->low_keys) + s->at;

	return ((const uint32_t *)x->low_spans.p)[s->at + last_before(k, s->n, key)];
}

uint32_t address_index_find(const struct address_index *x, const struct ip_addr *a)
{
	struct point p = point_of(a);
	uint32_t span;

	if (x->nodes.n == 0)
		return NONE;
	span = ((const uint32_t *)x->spans.p)[find_key(x, p.hi)];
	if (span == NONE || !(span & SPAN_SLICE))
		return span;
	return find_low(x, (const struct address_slice *)x->slices.p + (span & ~SPAN_SLICE), p.lo);
}

/* ---- building: prefixes in order ---------------------------------------------------- */

struct item {
	struct point start;
	uint32_t rule;
	uint8_t len;
	bool doh; /* of group doh; rule is the first one on it */
};

static int point_compare(struct point a, struct point b)
{
	if (a.hi != b.hi)
		return a.hi < b.hi ? -1 : 1;
	return (a.lo > b.lo) - (a.lo < b.lo);
}

/* Around before inside, then by rule. */
static int item_compare(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int c = point_compare(x->start, y->start);

	if (c == 0)
		c = x->len - y->len;
	return c ? c : (x->rule > y->rule) - (x->rule < y->rule);
}

static int add_item(struct vec *items, const struct ip_prefix *x, uint32_t rule, bool doh)
{
	struct item *it = vec_add(items, sizeof(*it));

	if (!it)
		return -ENOMEM;
	*it = (struct item){ point_of(&x->addr), rule, x->len, doh };
	return 0;
}

static int gather(const struct policy *p, uint8_t family, uint32_t doh, struct vec *ret)
{
	const struct ip_prefix *of_doh;
	size_t n_doh = policy_doh_prefixes(&of_doh);
	int err = 0;

	for (size_t i = 0; i < p->n_rules && err == 0; i++) {
		const struct policy_rule *r = &p->rules[i];

		if (r->dest == POLICY_DEST_PREFIX && r->prefix.addr.family == family)
			err = add_item(ret, &r->prefix, (uint32_t)i, false);
	}
	for (size_t i = 0; i < n_doh && doh != NONE && err == 0; i++)
		if (of_doh[i].addr.family == family)
			err = add_item(ret, &of_doh[i], doh, true);
	if (ret->n)
		qsort(ret->p, ret->n, sizeof(struct item), item_compare);
	return err;
}

/* ---- building: spans ----------------------------------------------------------------- */

struct boundary {
	struct point at;
	uint32_t node; /* from here on */
};

struct sweep {
	uint8_t family;
	struct vec boundaries;	/* struct boundary, in order */
	uint32_t open[129];	/* the chain of prefixes around the place we are at */
	struct point ends[129]; /* the first address behind each */
	bool endless[129];	/* there is none */
	unsigned n_open;
};

static int add_boundary(struct sweep *s, struct point at, uint32_t node)
{
	struct boundary *last = s->boundaries.p, *b;

	if (s->boundaries.n && point_compare(last[s->boundaries.n - 1].at, at) == 0) {
		last[s->boundaries.n - 1].node = node;
		return 0;
	}
	b = vec_add(&s->boundaries, sizeof(*b));
	if (!b)
		return -ENOMEM;
	*b = (struct boundary){ at, node };
	return 0;
}

static uint32_t innermost(const struct sweep *s)
{
	return s->n_open ? s->open[s->n_open - 1] : NONE;
}

/* Closes what ends at or before `at`; everything when it is NULL. */
static int close_until(struct sweep *s, const struct point *at)
{
	while (s->n_open) {
		unsigned i = s->n_open - 1;
		int err;

		if (at && (s->endless[i] || point_compare(s->ends[i], *at) > 0))
			return 0;
		s->n_open--;
		if (s->endless[i])
			continue;
		err = add_boundary(s, s->ends[i], innermost(s));
		if (err < 0)
			return err;
	}
	return 0;
}

/* The first address behind a prefix; false: it reaches to the end. */
static bool end_of(const struct item *it, uint8_t family, struct point *ret)
{
	struct point e = it->start;

	if (family == 4) {
		e.hi += UINT64_C(1) << (32 - it->len);
	} else if (it->len > 64) {
		e.lo += UINT64_C(1) << (128 - it->len);
		e.hi += e.lo == 0;
		if (e.lo == 0 && e.hi == 0)
			return false;
	} else {
		if (it->len == 0)
			return false;
		e.hi += UINT64_C(1) << (64 - it->len);
		if (e.hi == 0)
			return false;
	}
	*ret = e;
	return true;
}

static int open_prefix(struct sweep *s, const struct item *it, uint32_t node)
{
	unsigned i = s->n_open++;

	s->open[i] = node;
	s->endless[i] = !end_of(it, s->family, &s->ends[i]);
	return add_boundary(s, it->start, node);
}

/* One node for each prefix, with its rules; and the boundaries. */
static int sweep_items(struct address_index *x, struct bucket_store *store, const struct policy *p,
		       const struct vec *items, struct sweep *s)
{
	const struct item *it = items->p;
	int err = add_boundary(s, (struct point){ 0, 0 }, NONE);

	for (size_t i = 0; i < items->n && err == 0; i++) {
		struct prefix_node *node;

		if (i == 0 || it[i].len != it[i - 1].len ||
		    point_compare(it[i].start, it[i - 1].start) != 0) {
			err = close_until(s, &it[i].start);
			if (err < 0)
				return err;
			node = vec_add(&x->nodes, sizeof(*node));
			if (!node)
				return -ENOMEM;
			*node = (struct prefix_node){ BUCKET_EMPTY, innermost(s), it[i].rule,
						      it[i].len, false };
			if (s->n_open)
				node->least = MIN(node->least, address_node(x, node->around)->least);
			err = open_prefix(s, &it[i], (uint32_t)x->nodes.n - 1);
			if (err < 0)
				return err;
		}
		node = (struct prefix_node *)x->nodes.p + (x->nodes.n - 1);
		node->doh |= it[i].doh;
		if (!it[i].doh)
			err = bucket_add(store, &node->rules, &p->rules[it[i].rule], it[i].rule);
	}
	return err < 0 ? err : close_until(s, NULL);
}

/* ---- building: keys ------------------------------------------------------------------- */

static int add_key(struct vec *keys, struct vec *spans, uint64_t key, uint32_t span)
{
	uint64_t *k = vec_add(keys, sizeof(*k));
	uint32_t *s = vec_add(spans, sizeof(*s));

	if (!k || !s)
		return -ENOMEM;
	*k = key;
	*s = span;
	return 0;
}

/* The boundaries within one upper half; `before` holds up to the first of them. */
static int add_slice(struct address_index *x, const struct boundary *b, size_t n, uint32_t before)
{
	struct address_slice *slice = vec_add(&x->slices, sizeof(*slice));
	int err = slice ? 0 : -ENOMEM;

	if (err == 0)
		slice->at = (uint32_t)x->low_keys.n;
	if (err == 0 && b[0].at.lo != 0)
		err = add_key(&x->low_keys, &x->low_spans, 0, before);
	for (size_t i = 0; i < n && err == 0; i++)
		err = add_key(&x->low_keys, &x->low_spans, b[i].at.lo, b[i].node);
	if (err == 0)
		slice->n = (uint32_t)x->low_keys.n - slice->at;
	return err;
}

static int add_keys(struct address_index *x, const struct vec *boundaries)
{
	const struct boundary *b = boundaries->p;
	size_t n = boundaries->n, end;
	int err = 0;

	for (size_t i = 0; i < n && err == 0; i = end) {
		uint64_t hi = b[i].at.hi;

		for (end = i + 1; end < n && b[end].at.hi == hi;)
			end++;
		if (end - i == 1 && b[i].at.lo == 0) {
			err = add_key(&x->keys, &x->spans, hi, b[i].node);
			continue;
		}
		err = add_slice(x, b + i, end - i, i ? b[i - 1].node : NONE);
		if (err == 0)
			err = add_key(&x->keys, &x->spans, hi,
				      SPAN_SLICE | (uint32_t)(x->slices.n - 1));
		/* What holds at the slice's end holds from the next upper half on. */
		if (err == 0 && hi != UINT64_MAX && (end == n || b[end].at.hi != hi + 1))
			err = add_key(&x->keys, &x->spans, hi + 1, b[end - 1].node);
	}
	return err;
}

/* About four keys for each entry of the table; the whole range of keys is in it. */
static int add_tops(struct address_index *x, uint8_t family)
{
	const uint64_t *keys = keys_of(&x->keys);
	uint8_t width = family == 4 ? 32 : 64, bits = 1;
	size_t k = 0, n;

	while (bits < 18 && (size_t)4 << bits < x->keys.n)
		bits++;
	n = (size_t)1 << bits;
	x->shift = (uint8_t)(width - bits);
	x->tops = malloc((n + 1) * sizeof(*x->tops));
	if (!x->tops)
		return -ENOMEM;
	for (size_t top = 0; top < n; top++) {
		while (k < x->keys.n && keys[k] >> x->shift < top)
			k++;
		x->tops[top] = (uint32_t)k;
	}
	x->tops[n] = (uint32_t)x->keys.n;
	return 0;
}

static void trim(struct address_index *x)
{
	vec_trim(&x->nodes, sizeof(struct prefix_node));
	vec_trim(&x->keys, sizeof(uint64_t));
	vec_trim(&x->spans, sizeof(uint32_t));
	vec_trim(&x->slices, sizeof(struct address_slice));
	vec_trim(&x->low_keys, sizeof(uint64_t));
	vec_trim(&x->low_spans, sizeof(uint32_t));
}

int address_index_build(struct address_index *x, struct bucket_store *s, const struct policy *p,
			uint8_t family, uint32_t doh)
{
	struct sweep *w = calloc(1, sizeof(*w));
	struct vec items = { 0 };
	int err = w ? gather(p, family, doh, &items) : -ENOMEM;

	if (err < 0 || items.n == 0)
		goto out;
	w->family = family;
	err = sweep_items(x, s, p, &items, w);
	if (err == 0)
		err = add_keys(x, &w->boundaries);
	if (err == 0)
		err = add_tops(x, family);
	for (size_t i = 0; i < x->nodes.n && err == 0; i++)
		err = bucket_seal(s, &((struct prefix_node *)x->nodes.p)[i].rules, false);
	if (err == 0)
		trim(x);
out:
	vec_fini(&items);
	if (w)
		vec_fini(&w->boundaries);
	free(w);
	return err;
}

void address_index_fini(struct address_index *x)
{
	vec_fini(&x->nodes);
	vec_fini(&x->keys);
	vec_fini(&x->spans);
	vec_fini(&x->slices);
	vec_fini(&x->low_keys);
	vec_fini(&x->low_spans);
	free(x->tops);
}
