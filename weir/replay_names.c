/* SPDX-License-Identifier: Apache-2.0 */
/* Pairs of a name and an address, found by either. Bounded: full, it forgets and says so. */
#include "weir/replay.h"

#include "base/base.h"

struct pair {
	struct hmap_node by_name, by_addr;
	struct name name;
	struct ip_addr addr;
};

struct replay_names {
	struct hash_key key;
	struct hmap by_name, by_addr;
	struct pool pairs;
	uint64_t lost;
};

int replay_names_new(struct replay_names **ret)
{
	struct replay_names *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	hash_key_random(&n->key);
	pool_init(&n->pairs, sizeof(struct pair), REPLAY_PAIRS_MAX);
	if (hmap_init(&n->by_name, 64) < 0 || hmap_init(&n->by_addr, 64) < 0) {
		replay_names_free(n);
		return -ENOMEM;
	}
	*ret = n;
	return 0;
}

void replay_names_free(struct replay_names *n)
{
	if (!n)
		return;
	hmap_fini(&n->by_name);
	hmap_fini(&n->by_addr);
	pool_fini(&n->pairs);
	free(n);
}

static uint64_t hash_name(const struct replay_names *n, const struct name *name)
{
	return hash_bytes(&n->key, name->s, name->len);
}

static uint64_t hash_addr(const struct replay_names *n, const struct ip_addr *a)
{
	uint8_t bytes[17] = { a->family };

	memcpy(bytes + 1, a->b, 16);
	return hash_bytes(&n->key, bytes, sizeof(bytes));
}

void replay_names_add(struct replay_names *n, const struct name *name, const struct ip_addr *a)
{
	uint64_t h = hash_name(n, name);
	struct pair *p;

	hmap_for_hash (it, &n->by_name, h) {
		p = container_of(it, struct pair, by_name);
		if (name_equal(&p->name, name) && ip_equal(&p->addr, a))
			return;
	}
	p = pool_get(&n->pairs);
	if (!p) {
		n->lost++;
		return;
	}
	p->name = *name;
	p->addr = *a;
	hmap_insert(&n->by_name, &p->by_name, h);
	hmap_insert(&n->by_addr, &p->by_addr, hash_addr(n, a));
}

size_t replay_names_of(const struct replay_names *n, const struct ip_addr *a, struct name *ret,
		       size_t max)
{
	size_t count = 0;

	hmap_for_hash (it, &n->by_addr, hash_addr(n, a)) {
		const struct pair *p = container_of(it, struct pair, by_addr);

		if (count < max && ip_equal(&p->addr, a))
			ret[count++] = p->name;
	}
	return count;
}

size_t replay_addrs_of(const struct replay_names *n, const struct name *name, struct ip_addr *ret,
		       size_t max)
{
	size_t count = 0;

	hmap_for_hash (it, &n->by_name, hash_name(n, name)) {
		const struct pair *p = container_of(it, struct pair, by_name);

		if (count < max && name_equal(&p->name, name))
			ret[count++] = p->addr;
	}
	return count;
}

uint64_t replay_names_lost(const struct replay_names *n)
{
	return n->lost;
}
