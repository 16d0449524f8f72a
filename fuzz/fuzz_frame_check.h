/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a frame to the guest must be like, read by a parser that shares no code
 * with the stack: lengths that agree, checksums that are right, or partial with
 * the pseudo header's sum, never the guest's own address as the source.
 */
#ifndef FUZZ_FRAME_CHECK_H
#define FUZZ_FRAME_CHECK_H

#include "base/base.h"

#include "fuzz_must.h"

#include <netinet/in.h>

struct frame_link {
	uint8_t gateway_mac[6], guest_mac[6];
	struct ip_addr guest4, guest6;
	size_t mtu;
};

/* family 0 (of src): not IP. l4 NULL: a fragment, or nothing that was looked into. */
struct frame_seen {
	struct ip_addr src, dst;
	uint8_t proto;
	const uint8_t *l4;
	size_t l4_len;
};

static inline uint32_t frame_sum(uint32_t s, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + 1 < n; i += 2)
		s += (uint32_t)p[i] << 8 | p[i + 1];
	if (n & 1)
		s += (uint32_t)p[n - 1] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

static inline uint32_t frame_pseudo(const struct frame_seen *f)
{
	size_t n = f->src.family == 4 ? 4 : 16;
	uint32_t s = f->proto + (uint32_t)(f->l4_len >> 16) + (uint32_t)(f->l4_len & 0xffff);

	return frame_sum(frame_sum(s, f->src.b, n), f->dst.b, n);
}

/* v: the 12 bytes of virtio-net header in front of the frame. */
static inline void frame_check_sum(const uint8_t *v, const uint8_t *eth, const struct frame_seen *f,
				   size_t at, bool pseudo)
{
	uint32_t want = pseudo ? frame_pseudo(f) : 0;

	MUST(at + 2 <= f->l4_len);
	if (v[0] & 1) { /* the guest, or its hardware, completes it */
		MUST((size_t)(v[6] | v[7] << 8) == (size_t)(f->l4 - eth));
		MUST((size_t)(v[8] | v[9] << 8) == at);
		MUST(((uint32_t)f->l4[at] << 8 | f->l4[at + 1]) == want);
	} else {
		MUST(frame_sum(want, f->l4, f->l4_len) == 0xffff);
	}
}

/* What an error quotes is a packet of the guest's. */
static inline void frame_check_quote(const struct frame_link *l, const struct frame_seen *f)
{
	const uint8_t *q = f->l4 + 8;
	size_t n = f->l4_len - 8;

	if (f->src.family == 4)
		MUST(n >= 28 && q[0] >> 4 == 4 && memcmp(q + 12, l->guest4.b, 4) == 0);
	else
		MUST(n >= 40 && q[0] >> 4 == 6 && memcmp(q + 8, l->guest6.b, 16) == 0);
}

static inline bool frame_is_error(const struct frame_seen *f)
{
	uint8_t type = f->l4[0];

	return f->proto == IPPROTO_ICMP ? type == 3 || type == 11 || type == 12
					: f->proto == IPPROTO_ICMPV6 && type < 128;
}

static inline void frame_check_l4(const struct frame_link *l, const uint8_t *v, const uint8_t *eth,
				  const struct frame_seen *f)
{
	uint8_t gso = v[1] & 0x7f;
	size_t head = 0;

	switch (f->proto) {
	case IPPROTO_TCP:
		MUST(f->l4_len >= 20);
		head = (f->l4[12] >> 4) * 4u;
		MUST(head >= 20 && head <= f->l4_len);
		MUST(f->l4[0] | f->l4[1]);
		frame_check_sum(v, eth, f, 16, true);
		MUST(!gso || gso == (f->src.family == 4 ? 1 : 4));
		break;
	case IPPROTO_UDP:
		head = 8;
		MUST(f->l4_len >= 8 && ((size_t)f->l4[4] << 8 | f->l4[5]) == f->l4_len);
		if (f->src.family == 6 || f->l4[6] || f->l4[7] || v[0] & 1)
			frame_check_sum(v, eth, f, 6, true);
		MUST(!gso || gso == 5);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		MUST((f->proto == IPPROTO_ICMP) == (f->src.family == 4));
		MUST(f->l4_len >= 8 && !gso);
		frame_check_sum(v, eth, f, 2, f->proto == IPPROTO_ICMPV6);
		if (frame_is_error(f))
			frame_check_quote(l, f);
		break;
	default:
		abort(); /* nothing else is ever made */
	}
	if (gso) {
		size_t size = v[4] | (size_t)v[5] << 8, hdr = v[2] | (size_t)v[3] << 8;

		MUST(v[0] & 1 && size && f->l4_len - head > size);
		MUST(hdr == 0 || hdr == (size_t)(f->l4 - eth) + head);
		MUST((size_t)(f->l4 - eth) - 14 + head + size <= l->mtu);
	}
}

static inline void frame_check_ip4(const struct frame_link *l, const uint8_t *v, const uint8_t *eth,
				   size_t n, struct frame_seen *f)
{
	const uint8_t *p = eth + 14;
	uint32_t frag;

	MUST(n >= 20 && p[0] == 0x45 && ((size_t)p[2] << 8 | p[3]) == n && p[8]);
	MUST(frame_sum(0, p, 20) == 0xffff);
	f->src = (struct ip_addr){ 4, { p[12], p[13], p[14], p[15] } };
	f->dst = (struct ip_addr){ 4, { p[16], p[17], p[18], p[19] } };
	MUST(ip_equal(&f->dst, &l->guest4) && !ip_equal(&f->src, &l->guest4));
	MUST(p[12] && p[12] != 127 && p[12] < 224);
	f->proto = p[9];
	frag = ((uint32_t)p[6] << 8 | p[7]) & 0x3fff;
	if (frag) {
		MUST(!(v[0] & 1) && !v[1] && !(p[6] & 0x40));
		MUST(!(frag & 0x2000) || (n - 20) % 8 == 0);
		MUST((size_t)(frag & 0x1fff) * 8 + n - 20 <= 65535);
		return;
	}
	f->l4 = p + 20;
	f->l4_len = n - 20;
}

static inline void frame_check_ip6(const struct frame_link *l, const uint8_t *v, const uint8_t *eth,
				   size_t n, struct frame_seen *f)
{
	const uint8_t *p = eth + 14;

	MUST(n >= 40 && p[0] >> 4 == 6 && ((size_t)p[4] << 8 | p[5]) == n - 40 && p[7]);
	f->src.family = f->dst.family = 6;
	memcpy(f->src.b, p + 8, 16);
	memcpy(f->dst.b, p + 24, 16);
	MUST(!ip_equal(&f->src, &l->guest6) && p[8] != 0xff);
	MUST(ip_equal(&f->dst, &l->guest6) || p[24] == 0xff || p[24] == 0xfe);
	f->proto = p[6];
	if (f->proto == 44) {
		MUST(n >= 48 && !(v[0] & 1) && !v[1]);
		return;
	}
	f->l4 = p + 40;
	f->l4_len = n - 40;
}

/* b: virtio-net header and frame, n bytes in all. */
static inline struct frame_seen frame_check(const struct frame_link *l, const uint8_t *b, size_t n)
{
	const uint8_t *eth = b + 12;
	struct frame_seen f = { 0 };
	uint16_t type;

	MUST(n >= 12 + 14);
	MUST(memcmp(eth + 6, l->gateway_mac, 6) == 0);
	MUST(memcmp(eth, l->guest_mac, 6) == 0 || (eth[0] & 1));
	n -= 12 + 14;
	type = (uint16_t)(eth[12] << 8 | eth[13]);
	if (type == 0x0806) {
		MUST(n >= 28 && memcmp(eth + 14 + 14, l->guest4.b, 4) != 0);
		return f;
	}
	MUST(type == 0x0800 || type == 0x86dd);
	MUST((b[1] & 0x7f) || n <= l->mtu);
	if (type == 0x0800)
		frame_check_ip4(l, b, eth, n, &f);
	else
		frame_check_ip6(l, b, eth, n, &f);
	if (f.l4)
		frame_check_l4(l, b, eth, &f);
	return f;
}

#endif
