/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and suffixes that rules are about, in one hash table: a name is looked
 * up once for each of its label-aligned suffixes, from the right, at most 127
 * times and only at depths that some rule's name has. One pass over the bytes
 * gives the hashes of all suffixes.
 *
 * The guest chooses the names that are looked up. The hash is keyed at random, so
 * it cannot aim at long runs of the table, and a hit is compared byte by byte.
 */
#include "base/base.h"
#include "policy/index.h"

__extension__ typedef unsigned __int128 wide;

static uint64_t fold(uint64_t a, uint64_t b)
{
	wide p = (wide)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static uint64_t load32(const char *s)
{
	uint32_t v;

	memcpy(&v, s, sizeof(v));
	return v;
}

static uint64_t load64(const char *s)
{
	uint64_t v;

	memcpy(&v, s, sizeof(v));
	return v;
}

/* At most 8 bytes as a number, without reading past them. */
static uint64_t load_tail(const char *s, size_t n)
{
	if (n >= 4)
		return load32(s) << 32 | load32(s + n - 4);
	if (n == 0)
		return 0;
	return (uint64_t)(uint8_t)s[0] << 16 | (uint64_t)(uint8_t)s[n / 2] << 8 | (uint8_t)s[n - 1];
}

/* The hash of "label.suffix" from that of the suffix. */
static uint64_t hash_label(const struct name_index *x, uint64_t h, const char *s, size_t n)
{
	h ^= n;
	for (; n > 8; n -= 8, s += 8)
		h = fold(h ^ load64(s), x->key.k[0]);
	return fold(h ^ load_tail(s, n), x->key.k[0]);
}

void name_walk_init(struct name_walk *w, const struct name_index *x, const struct name *n)
{
	*w = (struct name_walk){ .name = n, .end = (size_t)n->len + 1, .hash = x->key.k[1] };
}

/* Takes one more label from the right: *ret is where the suffix begins now. */
static bool walk_label(struct name_walk *w, const struct name_index *x, size_t *ret)
{
	size_t end = w->end, start;

	if (end == 0)
		return false;
	start = --end;
	while (start > 0 && w->name->s[start - 1] != '.')
		start--;
	w->hash = hash_label(x, w->hash, w->name->s + start, end - start);
	w->depth++;
	w->end = start;
	w->apex = start == 0;
	*ret = start;
	return true;
}

static struct name_node *node_at(const struct name_index *x, uint32_t at)
{
	return (struct name_node *)(void *)(x->block + (size_t)at * 4);
}

/* The slot of these bytes, or the free one where they belong. */
static struct name_slot *find_slot(const struct name_index *x, uint64_t hash, const char *s, size_t n)
{
	uint32_t tag = (uint32_t)(hash >> 32);
	size_t i = hash & x->mask;

	for (; x->slots[i].at; i = (i + 1) & x->mask) {
		const struct name_node *node;

		if (x->slots[i].tag != tag)
			continue;
		node = node_at(x, x->slots[i].at);
		if (node->len == n && memcmp(node->s, s, n) == 0)
			break;
	}
	return &x->slots[i];
}

static bool has_depth(const struct name_index *x, unsigned depth)
{
	return depth < 128 && (x->depths[depth / 64] >> (depth % 64) & 1);
}

const struct name_node *name_walk_next(struct name_walk *w, const struct name_index *x)
{
	size_t start;

	while (walk_label(w, x, &start)) {
		const struct name_slot *slot;

		if (!has_depth(x, w->depth))
			continue;
		slot = find_slot(x, w->hash, w->name->s + start, w->name->len - start);
		if (slot->at)
			return node_at(x, slot->at);
	}
	return NULL;
}

/* ---- building ------------------------------------------------------------------- */

static size_t node_size(size_t len)
{
	return (offsetof(struct name_node, s) + len + 3) & ~(size_t)3;
}

static bool in_index(const struct policy_rule *r)
{
	return rule_by_name(r) && r->dest != POLICY_DEST_DOH;
}

/* Room for every rule to have a name of its own. */
static int allocate(struct name_index *x, const struct policy *p, bool doh)
{
	size_t names = 0, bytes = 4, slots = 4;
	const char *s;
	bool below;

	while (doh && (s = policy_doh_nth_name(names, &below))) {
		names++;
		bytes += node_size(strlen(s));
	}
	for (size_t i = 0; i < p->n_rules; i++)
		if (in_index(&p->rules[i])) {
			names++;
			bytes += node_size(p->rules[i].name->len);
		}
	while (slots < names * 2)
		slots *= 2;
	x->slots = calloc(slots, sizeof(*x->slots));
	x->mask = slots - 1;
	x->block = malloc(bytes);
	x->used = 4; /* nothing is at 0 */
	hash_key_random(&x->key);
	x->key.k[0] |= 1;
	return x->slots && x->block ? 0 : -ENOMEM;
}

static struct name_node *get_node(struct name_index *x, const struct name *n)
{
	struct name_walk w;
	struct name_slot *slot;
	struct name_node *node;
	size_t start;

	name_walk_init(&w, x, n);
	while (walk_label(&w, x, &start))
		;
	slot = find_slot(x, w.hash, n->s, n->len);
	if (slot->at)
		return node_at(x, slot->at);
	x->depths[w.depth / 64] |= UINT64_C(1) << (w.depth % 64);
	*slot = (struct name_slot){ (uint32_t)(w.hash >> 32), (uint32_t)(x->used / 4) };
	node = node_at(x, slot->at);
	node->rules = BUCKET_EMPTY;
	node->len = n->len;
	node->doh = 0;
	memcpy(node->s, n->s, n->len);
	x->used += node_size(n->len);
	return node;
}

static int add_rule(struct name_index *x, struct bucket_store *s, const struct policy *p, size_t i)
{
	struct name name = policy_rule_name(&p->rules[i]);

	return bucket_add(s, &get_node(x, &name)->rules, &p->rules[i], (uint32_t)i);
}

static void mark_doh(struct name_index *x)
{
	const char *s;
	bool below;

	for (size_t i = 0; (s = policy_doh_nth_name(i, &below)); i++) {
		struct name name = { .len = (uint8_t)strlen(s) };

		memcpy(name.s, s, name.len);
		get_node(x, &name)->doh = ENTRY_APEX | (below ? ENTRY_BELOW : 0);
	}
}

int name_index_build(struct name_index *x, struct bucket_store *s, const struct policy *p, bool doh)
{
	int err = allocate(x, p, doh);

	if (err == 0 && doh)
		mark_doh(x);
	for (size_t i = 0; i < p->n_rules && err == 0; i++)
		if (in_index(&p->rules[i]))
			err = add_rule(x, s, p, i);
	for (size_t at = 4; at < x->used && err == 0;) {
		struct name_node *node = node_at(x, (uint32_t)(at / 4));

		err = bucket_seal(s, &node->rules, true);
		at += node_size(node->len);
	}
	return err;
}

void name_index_fini(struct name_index *x)
{
	free(x->slots);
	free(x->block);
}
