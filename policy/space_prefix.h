/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of both families as numbers, to count and compare with. Internal to policy/. */
#ifndef WEIR_POLICY_SPACE_PREFIX_H
#define WEIR_POLICY_SPACE_PREFIX_H

#include "base/base.h"

typedef unsigned __int128 u128;

static inline u128 ip_value(const struct ip_addr *a)
{
	u128 v = 0;

	for (size_t i = 0; i < ip_size(a); i++)
		v = v << 8 | a->b[i];
	return v;
}

static inline struct ip_addr ip_of_value(unsigned family, u128 v)
{
	uint8_t b[16];

	for (size_t i = family == 4 ? 4 : 16; i--; v >>= 8)
		b[i] = (uint8_t)v;
	return ip_from_be((int)family, b);
}

static inline unsigned family_bits(unsigned family)
{
	return family == 4 ? 32 : 128;
}

/* The last address of the prefix lo/len. */
static inline u128 prefix_last(unsigned family, u128 lo, unsigned len)
{
	unsigned host = family_bits(family) - len;

	return host == 128 ? ~(u128)0 : lo | (((u128)1 << host) - 1);
}

#endif
