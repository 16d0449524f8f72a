/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Internet checksum (RFC 1071), eight bytes at a time. The sum is kept in
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

static uint16_t sum_bytes(const uint8_t *p, size_t n)
{
	uint64_t s = 0, tail = 0;
	uint32_t w[4];

	for (; n >= 16; n -= 16, p += 16) {
		memcpy(w, p, 16);
		s += (uint64_t)w[0] + w[1] + w[2] + w[3];
	}
	for (; n >= 4; n -= 4, p += 4) {
		memcpy(w, p, 4);
		s += w[0];
	}
	if (n) {
		memcpy(&tail, p, n);
		s += tail;
	}
	return fold(s);
}

void csum_feed(struct csum *c, const void *p, size_t n)
{
	uint16_t s = sum_bytes(p, n);

	if (c->odd)
		s = __builtin_bswap16(s);
	c->sum += s;
	c->odd ^= n & 1;
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
