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

/* Sum of p[0..n), which is copied to dst on the way when that is not NULL. */
static inline __attribute__((always_inline)) uint16_t sum_bytes(uint8_t *dst, const uint8_t *p,
								size_t n)
{
	words a = { 0 }, b = { 0 }, w;
	uint64_t s, v;

	for (; n >= sizeof(w); n -= sizeof(w), p += sizeof(w)) {
		memcpy(&w, p, sizeof(w));
		if (dst) {
			memcpy(dst, &w, sizeof(w));
			dst += sizeof(w);
		}
		a += w & UINT32_MAX;
		b += w >> 32;
	}
	a += b;
	s = (a[0] + a[1]) + (a[2] + a[3]);
	while (n) {
		size_t k = MIN(n, sizeof(v));

		v = 0;
		memcpy(&v, p, k);
		if (dst) {
			memcpy(dst, &v, k);
			dst += k;
		}
		s += (v & UINT32_MAX) + (v >> 32);
		p += k;
		n -= k;
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

void csum_feed(struct csum *c, const void *p, size_t n)
{
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

	csum_feed(c, src->b, ip_size(src));
	csum_feed(c, dst->b, ip_size(dst));
	put_be32(b, (uint32_t)len);
	put_be32(b + 4, proto);
	csum_feed(c, b, sizeof(b));
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
