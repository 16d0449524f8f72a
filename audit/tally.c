/* SPDX-License-Identifier: Apache-2.0 */
/* Counters by text key for the reader's summaries; bounded, so that a record with endless keys costs no endless memory. */
#include "audit/audit_internal.h"

int audit_tally_init(struct audit_tally *t, size_t max)
{
	*t = (struct audit_tally){ .max = max };
	hash_key_random(&t->hash_key);
	return hmap_init(&t->map, 64);
}

void audit_tally_fini(struct audit_tally *t)
{
	for (size_t i = 0; i < t->count; i++) {
		free(t->items[i]->key);
		free(t->items[i]);
	}
	free(t->items);
	hmap_fini(&t->map);
	*t = (struct audit_tally){ 0 };
}

struct audit_tally_item *audit_tally_find(const struct audit_tally *t, const char *key)
{
	uint64_t h = hash_bytes(&t->hash_key, key, strlen(key));

	hmap_for_hash (n, &t->map, h) {
		struct audit_tally_item *it = container_of(n, struct audit_tally_item, node);

		if (str_eq(it->key, key))
			return it;
	}
	return NULL;
}

static bool grow(struct audit_tally *t)
{
	size_t size = t->size ? t->size * 2 : 64;
	struct audit_tally_item **items;

	if (t->count < t->size)
		return true;
	items = reallocarray(t->items, size, sizeof(*items));
	if (!items)
		return false;
	t->items = items;
	t->size = size;
	return true;
}

struct audit_tally_item *audit_tally_get(struct audit_tally *t, const char *key)
{
	struct audit_tally_item *it = audit_tally_find(t, key);

	if (it)
		return it;
	if (t->count >= t->max || !grow(t))
		goto full;
	it = calloc(1, sizeof(*it));
	if (!it)
		goto full;
	it->key = strdup(key);
	if (!it->key) {
		free(it);
		goto full;
	}
	hmap_insert(&t->map, &it->node, hash_bytes(&t->hash_key, key, strlen(key)));
	t->items[t->count++] = it;
	return it;
full:
	t->others++;
	return NULL;
}

static int by_weight(const void *pa, const void *pb)
{
	const struct audit_tally_item *a = *(struct audit_tally_item *const *)pa;
	const struct audit_tally_item *b = *(struct audit_tally_item *const *)pb;

	if (a->n != b->n)
		return a->n < b->n ? 1 : -1;
	if (a->a + a->b != b->a + b->b)
		return a->a + a->b < b->a + b->b ? 1 : -1;
	return strcmp(a->key, b->key);
}

void audit_tally_sort(struct audit_tally *t)
{
	if (t->count)
		qsort(t->items, t->count, sizeof(t->items[0]), by_weight);
}
