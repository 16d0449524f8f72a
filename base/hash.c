/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keyed hashing (SipHash-2-4, Aumasson and Bernstein 2012) and an intrusive
 * chained hash map that doubles at load 1. Keys come from guests, so the hash
 * key is random: a guest cannot build a table of collisions.
 */
#include "base/base.h"

#include <endian.h>

static uint64_t rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

static uint64_t load_le64(const uint8_t *p, size_t n)
{
	uint64_t r = 0;

	while (n--)
		r = r << 8 | p[n];
	return r;
}

uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t n)
{
	const uint8_t *p = data;
	uint64_t v[4] = {
		key->k[0] ^ UINT64_C(0x736f6d6570736575),
		key->k[1] ^ UINT64_C(0x646f72616e646f6d),
		key->k[0] ^ UINT64_C(0x6c7967656e657261),
		key->k[1] ^ UINT64_C(0x7465646279746573),
	};
	uint64_t m, last = (uint64_t)n << 56;

	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&m, p, 8);
		m = le64toh(m);
		v[3] ^= m;
		sip_round(v);
		sip_round(v);
		v[0] ^= m;
	}
	last |= load_le64(p, n);
	v[3] ^= last;
	sip_round(v);
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void hash_key_random(struct hash_key *key)
{
	random_bytes(key->k, sizeof(key->k));
}

int hmap_init(struct hmap *m, size_t initial)
{
	size_t n = 16;

	while (n < initial)
		n *= 2;
	*m = (struct hmap){ .buckets = calloc(n, sizeof(*m->buckets)), .mask = n - 1 };
	return m->buckets ? 0 : -ENOMEM;
}

void hmap_fini(struct hmap *m)
{
	free(m->buckets);
	*m = (struct hmap){ 0 };
}

/* Failing to grow only makes chains longer; nothing is lost. */
static void hmap_grow(struct hmap *m)
{
	size_t n = (m->mask + 1) * 2;
	struct hmap_node **b = calloc(n, sizeof(*b));

	if (!b)
		return;
	for (size_t i = 0; i <= m->mask; i++) {
		struct hmap_node *it = m->buckets[i], *next;

		for (; it; it = next) {
			next = it->next;
			it->next = b[it->hash & (n - 1)];
			b[it->hash & (n - 1)] = it;
		}
	}
	free(m->buckets);
	m->buckets = b;
	m->mask = n - 1;
}

void hmap_insert(struct hmap *m, struct hmap_node *n, uint64_t hash)
{
	if (m->count > m->mask)
		hmap_grow(m);
	n->hash = hash;
	n->next = m->buckets[hash & m->mask];
	m->buckets[hash & m->mask] = n;
	m->count++;
}

void hmap_remove(struct hmap *m, struct hmap_node *n)
{
	struct hmap_node **p = &m->buckets[n->hash & m->mask];

	while (*p != n)
		p = &(*p)->next;
	*p = n->next;
	n->next = NULL;
	m->count--;
}

static struct hmap_node *hmap_scan(struct hmap_node *n, uint64_t hash)
{
	while (n && n->hash != hash)
		n = n->next;
	return n;
}

struct hmap_node *hmap_first(const struct hmap *m, uint64_t hash)
{
	return m->buckets ? hmap_scan(m->buckets[hash & m->mask], hash) : NULL;
}

struct hmap_node *hmap_next(const struct hmap_node *n)
{
	return hmap_scan(n->next, n->hash);
}
