/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address groups: a partition of both address families.
 *
 * The table comes from groups.tsv and is the only one: rules, DNS answers and
 * the dialler all ask here, so no two of them can disagree about an address.
 *
 * IPv6 forms that carry an IPv4 address reach that address on some network, so
 * they are judged as it. Where more than one address is inside, or where the
 * carrier itself is not public, the least public reading is taken: a hostile
 * name server can make any of these up.
 */
#include "base/base.h"
#include "policy/policy.h"
#include "policy/policy_internal.h"

struct group_run4 {
	uint32_t first;
	uint8_t group;
};

struct group_run6 {
	uint64_t hi, lo;
	uint8_t group;
};

#include "groups_table.h"

static const char *const group_names[POLICY_GROUPS] = {
	[POLICY_GROUP_HOST] = "host",
	[POLICY_GROUP_METADATA] = "metadata",
	[POLICY_GROUP_LOOPBACK] = "loopback",
	[POLICY_GROUP_PRIVATE] = "private",
	[POLICY_GROUP_LINK_LOCAL] = "link_local",
	[POLICY_GROUP_MULTICAST] = "multicast",
	[POLICY_GROUP_RESERVED] = "reserved",
	[POLICY_GROUP_PUBLIC] = "public",
};

const char *policy_group_name(enum policy_group g)
{
	return group_names[g];
}

static enum policy_group table_group4(uint32_t a)
{
	size_t lo = 0, hi = ARRAY_SIZE(group_runs4);

	/* Invariant: run lo starts at or before a, run hi after it. */
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (group_runs4[mid].first <= a)
			lo = mid;
		else
			hi = mid;
	}
	return (enum policy_group)group_runs4[lo].group;
}

static enum policy_group table_group6(const uint8_t b[static 16])
{
	uint64_t a_hi = (uint64_t)get_be32(b) << 32 | get_be32(b + 4);
	uint64_t a_lo = (uint64_t)get_be32(b + 8) << 32 | get_be32(b + 12);
	size_t lo = 0, hi = ARRAY_SIZE(group_runs6);

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;
		const struct group_run6 *r = &group_runs6[mid];

		if (r->hi < a_hi || (r->hi == a_hi && r->lo <= a_lo))
			lo = mid;
		else
			hi = mid;
	}
	return (enum policy_group)group_runs6[lo].group;
}

static bool starts_with(const uint8_t *b, const uint8_t *prefix, size_t n)
{
	return memcmp(b, prefix, n) == 0;
}

/* RFC 5214 6.1: an interface identifier of 0000:5efe or 0200:5efe under any prefix. */
static bool is_isatap(const uint8_t b[static 16])
{
	return (b[8] & 0xfd) == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe;
}

/* The prefixes of a whole /96 (and 6to4, Teredo) that say "IPv4 inside". */
static bool prefix_embedded(const uint8_t b[static 16], struct ip_addr *ret)
{
	static const uint8_t zero[16];
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	static const uint8_t translated[12] = { [8] = 0xff, [9] = 0xff };
	static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
	static const uint8_t teredo[4] = { 0x20, 0x01, 0x00, 0x00 };

	if (starts_with(b, zero, 12)) {
		/* :: and ::1 are addresses of their own, not compatible forms. */
		if (starts_with(b + 12, zero, 3) && b[15] <= 1)
			return false;
		*ret = ip_from_be(4, b + 12);
		return true;
	}
	if (starts_with(b, mapped, 12) || starts_with(b, translated, 12) ||
	    starts_with(b, nat64, 12)) {
		*ret = ip_from_be(4, b + 12);
		return true;
	}
	if (b[0] == 0x20 && b[1] == 0x02) {
		*ret = ip_from_be(4, b + 2);
		return true;
	}
	if (starts_with(b, teredo, 4)) {
		/* RFC 4380 4: the client's address, every bit inverted. */
		*ret = ip4((uint8_t)~b[12], (uint8_t)~b[13], (uint8_t)~b[14], (uint8_t)~b[15]);
		return true;
	}
	return false;
}

size_t policy_embedded_all(const struct ip_addr *a, struct ip_addr ret[static 2])
{
	size_t n = 0;

	if (a->family != 6)
		return 0;
	if (prefix_embedded(a->b, &ret[n]))
		n++;
	if (is_isatap(a->b)) {
		struct ip_addr inner = ip_from_be(4, a->b + 12);

		if (n == 0 || !ip_equal(&ret[0], &inner))
			ret[n++] = inner;
	}
	return n;
}

bool policy_embedded_v4(const struct ip_addr *a, struct ip_addr *ret)
{
	struct ip_addr in[2];

	if (policy_embedded_all(a, in) == 0)
		return false;
	*ret = in[0];
	return true;
}

/* Of two readings of one address, the one to go by. */
static enum policy_group least_public(enum policy_group a, enum policy_group b)
{
	if (a == POLICY_GROUP_METADATA || b == POLICY_GROUP_METADATA)
		return POLICY_GROUP_METADATA;
	return b == POLICY_GROUP_PUBLIC ? a : b;
}

static enum policy_group group6(const uint8_t b[static 16])
{
	enum policy_group g = table_group6(b);
	struct ip_addr inner;

	if (prefix_embedded(b, &inner)) {
		g = table_group4(get_be32(inner.b));
		/* A Teredo server that is not public is nobody's tunnel. */
		if (b[0] == 0x20 && b[1] == 0x01 && g == POLICY_GROUP_PUBLIC &&
		    table_group4(get_be32(b + 4)) != POLICY_GROUP_PUBLIC)
			g = POLICY_GROUP_RESERVED;
	}
	if (is_isatap(b))
		g = least_public(g, table_group4(get_be32(b + 12)));
	return g;
}

enum policy_group policy_group_of(const struct ip_addr *a)
{
	if (a->family == 4)
		return table_group4(get_be32(a->b));
	if (a->family == 6)
		return group6(a->b);
	return POLICY_GROUP_RESERVED;
}

bool policy_group_run(int family, size_t i, struct ip_addr *ret_first)
{
	uint8_t b[16] = { 0 };

	if (i >= (family == 4 ? ARRAY_SIZE(group_runs4) : ARRAY_SIZE(group_runs6)))
		return false;
	if (family == 4) {
		put_be32(b, group_runs4[i].first);
	} else {
		put_be32(b, (uint32_t)(group_runs6[i].hi >> 32));
		put_be32(b + 4, (uint32_t)group_runs6[i].hi);
		put_be32(b + 8, (uint32_t)(group_runs6[i].lo >> 32));
		put_be32(b + 12, (uint32_t)group_runs6[i].lo);
	}
	*ret_first = ip_from_be(family, b);
	return true;
}

static const struct {
	const char *word;
	enum policy_group group;
} group_words[] = {
	{ "host", POLICY_GROUP_HOST },
	{ "metadata", POLICY_GROUP_METADATA },
	{ "meta", POLICY_GROUP_METADATA },
	{ "loopback", POLICY_GROUP_LOOPBACK },
	{ "private", POLICY_GROUP_PRIVATE },
	{ "link_local", POLICY_GROUP_LINK_LOCAL },
	{ "link-local", POLICY_GROUP_LINK_LOCAL },
	{ "multicast", POLICY_GROUP_MULTICAST },
	{ "reserved", POLICY_GROUP_RESERVED },
	{ "public", POLICY_GROUP_PUBLIC },
};

bool policy_group_parse(const char *s, enum policy_group *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(group_words); i++)
		if (str_eq(s, group_words[i].word)) {
			*ret = group_words[i].group;
			return true;
		}
	return false;
}

const char *policy_group_suggest(const char *s)
{
	const char *words[ARRAY_SIZE(group_words)];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = group_words[i].word;
	return str_suggest(s, words, ARRAY_SIZE(words));
}
