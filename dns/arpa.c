/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reverse names (RFC 1035 3.5, RFC 3596 2.5): an address, or the beginning of one,
 * as labels from the right. Numbers are canonical, so that each address has one name.
 */
#include "dns/dns_int.h"

struct zone {
	struct name name;
	int family;
	unsigned bits; /* of a label */
	unsigned base;
};

static const struct zone zones[] = {
	{ { 12, "in-addr.arpa" }, 4, 8, 10 },
	{ { 8, "ip6.arpa" }, 6, 4, 16 },
};

/* A label as a number without leading zeros. */
static bool read_label(const char *s, size_t len, const struct zone *z, unsigned *ret)
{
	unsigned v = 0, max = (1u << z->bits) - 1;

	if (len == 0 || len > 3 || (len > 1 && s[0] == '0'))
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned c = s[i] >= '0' && s[i] <= '9'	  ? (unsigned)(s[i] - '0')
			     : s[i] >= 'a' && s[i] <= 'f' ? (unsigned)(s[i] - 'a') + 10
							  : 99;

		if (c >= z->base)
			return false;
		v = v * z->base + c;
	}
	*ret = v;
	return v <= max;
}

/*
 * As much of an address as the name spells, from the right; *ret_rest is the length
 * of what is left of it.
 */
static bool read_prefix(const struct name *n, struct ip_prefix *ret, size_t *ret_rest)
{
	const struct zone *z = NULL;
	struct ip_prefix p = { 0 };
	size_t rest;
	unsigned v;

	for (size_t i = 0; i < ARRAY_SIZE(zones) && !z; i++)
		if (name_in_suffix(n, &zones[i].name, true))
			z = &zones[i];
	if (!z)
		return false;
	p.addr.family = (uint8_t)z->family;
	rest = n->len - z->name.len;
	while (rest && p.len < 8 * ip_size(&p.addr)) {
		size_t dot = rest - 1, at = dot;

		while (at && n->s[at - 1] != '.')
			at--;
		if (!read_label(n->s + at, dot - at, z, &v))
			break;
		p.addr.b[p.len / 8] |= (uint8_t)(v << (8 - z->bits - p.len % 8));
		p.len = (uint8_t)(p.len + z->bits);
		rest = at;
	}
	*ret = p;
	*ret_rest = rest;
	return true;
}

bool dns_arpa_addr(const struct name *n, struct ip_addr *ret)
{
	struct ip_prefix p;
	size_t rest;

	if (!read_prefix(n, &p, &rest) || rest || p.len != 8 * ip_size(&p.addr))
		return false;
	*ret = p.addr;
	return true;
}

bool dns_arpa_local(const struct name *n)
{
	/* RFC 6303 4, RFC 7793 3; for link-local addresses RFC 6762 12 as well. */
	static const struct ip_prefix local[] = {
		{ { 4, { 10 } }, 8 },
		{ { 4, { 172, 16 } }, 12 },
		{ { 4, { 192, 168 } }, 16 },
		{ { 4, { 0 } }, 8 },
		{ { 4, { 127 } }, 8 },
		{ { 4, { 169, 254 } }, 16 },
		{ { 4, { 192, 0, 2 } }, 24 },
		{ { 4, { 198, 51, 100 } }, 24 },
		{ { 4, { 203, 0, 113 } }, 24 },
		{ { 4, { 255, 255, 255, 255 } }, 32 },
		{ { 4, { 100, 64 } }, 10 },
		{ { 6, { 0 } }, 127 }, /* :: and ::1 */
		{ { 6, { 0xfd } }, 8 },
		{ { 6, { 0xfe, 0x80 } }, 10 },
		{ { 6, { 0x20, 0x01, 0x0d, 0xb8 } }, 32 },
	};
	struct ip_prefix p;
	size_t rest;

	if (!read_prefix(n, &p, &rest))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(local); i++)
		if (p.len >= local[i].len && p.addr.family == local[i].addr.family &&
		    ip_in_prefix(&p.addr, &local[i]))
			return true;
	return false;
}
