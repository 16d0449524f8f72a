/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Internet checksum (RFC 1071), 32 bytes at a time. The sum is kept in
 * host order: ones' complement addition does not care about byte order as
 * long as the result is stored the way it was loaded.
 */
#include "netstack/netstack_internal.h"

static uint16_t fold(uint64_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

/*
 * Four sums of 32-bit words side by side, which compilers turn into vector
 * instructions. A sum overflows after 2^31 words; frames are far shorter.
 */
typedef uint64_t words __attribute__((vector_size(32)));

static inline __attribute__((always_inline)) uint64_t sum_words(uint8_t *dst, const uint8_t *p,
								size_t n)
{
	words a = { 0 }, b = { 0 }, w;

	for (size_t i = 0; i < n; i += sizeof(w)) {
		memcpy(&w, p + i, sizeof(w));
		if (dst)
			memcpy(dst + i, &w, sizeof(w));
		a += w & UINT32_MAX;
		b += w >> 32;
	}
	a += b;
	return (a[0] + a[1]) + (a[2] + a[3]);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static uint64_t sum_words_avx2(uint8_t *dst, const uint8_t *p,
							       size_t n)
{
	return dst ? sum_words(dst, p, n) : sum_words(NULL, p, n);
}
#endif

static uint64_t sum_blocks(uint8_t *dst, const uint8_t *p, size_t n)
{
#ifdef __x86_64__
	if (n >= 128 && __builtin_cpu_supports("avx2"))
		return sum_words_avx2(dst, p, n);
#endif
	return dst ? sum_words(dst, p, n) : sum_words(NULL, p, n);
}

/* Sum of p[0..n), which is copied to dst on the way when that is not NULL. */
static uint16_t sum_bytes(uint8_t *dst, const uint8_t *p, size_t n)
{
	size_t blocks = n & ~(sizeof(words) - 1);
	uint64_t s = blocks ? sum_blocks(dst, p, blocks) : 0, v;

	for (size_t i = blocks, k; i < n; i += k) {
		k = MIN(n - i, sizeof(v));
		v = 0;
		memcpy(&v, p + i, k);
		if (dst)
			memcpy(dst + i, &v, k);
		s += (v & UINT32_MAX) + (v >> 32);
	}
	return fold(s);
}

static void add(struct csum *c, uint16_t s, size_t n)
{
	if (c->odd)
		s = __builtin_bswap16(s);
	c->sum += s;
	c->odd ^= n & 1;
}

/* Whole 32-bit words, few of them: headers and addresses. */
static inline uint64_t sum_few(const uint8_t *p, size_t n)
{
	uint64_t s = 0;

	for (size_t i = 0; i < n; i += sizeof(uint32_t)) {
		uint32_t w;

		memcpy(&w, p + i, sizeof(w));
		s += w;
	}
	return s;
}

void csum_feed(struct csum *c, const void *p, size_t n)
{
	if (n <= 40 && n % 4 == 0 && !c->odd)
		c->sum += sum_few(p, n);
	else
		add(c, sum_bytes(NULL, p, n), n);
}

void csum_feed_copy(struct csum *c, void *dst, const void *p, size_t n)
{
	add(c, n ? sum_bytes(dst, p, n) : 0, n);
}

void csum_feed_pseudo(struct csum *c, const struct ip_addr *src, const struct ip_addr *dst,
		      uint8_t proto, size_t len)
{
	uint8_t b[8];

	/* Comes first, or behind whole words. */
	assert(!c->odd);
	put_be32(b, (uint32_t)len);
	put_be32(b + 4, proto);
	c->sum += sum_few(src->b, ip_size(src)) + sum_few(dst->b, ip_size(dst)) +
		  sum_few(b, sizeof(b));
}

void csum_store_partial(const struct csum *c, uint8_t *p)
{
	uint16_t s = fold(c->sum);

	memcpy(p, &s, 2);
}

void csum_store(const struct csum *c, uint8_t *p)
{
	uint16_t s = (uint16_t)~fold(c->sum);

	memcpy(p, &s, 2);
}

bool csum_good(const struct csum *c)
{
	return fold(c->sum) == 0xffff;
}
