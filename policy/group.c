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

/* ---- as ranges ------------------------------------------------------------------ */

static struct ip_addr addr6(uint64_t hi, uint64_t lo)
{
	struct ip_addr a = { .family = 6 };

	put_be32(a.b, (uint32_t)(hi >> 32));
	put_be32(a.b + 4, (uint32_t)hi);
	put_be32(a.b + 8, (uint32_t)(lo >> 32));
	put_be32(a.b + 12, (uint32_t)lo);
	return a;
}

/* A range of IPv6 addresses as numbers. */
struct range6 {
	uint64_t hi, lo, last_hi, last_lo;
};

/* What wraps IPv4, in ascending order: never judged by the table itself. */
static const struct range6 wrappers[] = {
	{ 0, 2, 0, UINT32_MAX },				   /* ::/96 */
	{ 0, 0xffff00000000, 0, 0xffffffffffff },		   /* ::ffff:0:0/96 */
	{ 0, 0xffff000000000000, 0, 0xffff0000ffffffff },	   /* ::ffff:0:0:0/96 */
	{ 0x64ff9b00000000, 0, 0x64ff9b00000000, UINT32_MAX },	   /* NAT64 */
	{ 0x2001000000000000, 0, 0x20010000ffffffff, UINT64_MAX }, /* Teredo */
	{ 0x2002000000000000, 0, 0x2002ffffffffffff, UINT64_MAX }, /* 6to4 */
};

static bool after(uint64_t a_hi, uint64_t a_lo, uint64_t b_hi, uint64_t b_lo)
{
	return a_hi > b_hi || (a_hi == b_hi && a_lo > b_lo);
}

static void tell6(const struct range6 *r, policy_range_fn *fn, void *user)
{
	struct ip_addr first = addr6(r->hi, r->lo), last = addr6(r->last_hi, r->last_lo);

	fn(user, &first, &last);
}

/* One run of the table, with the wrappers cut out of it. */
static void native6(struct range6 r, policy_range_fn *fn, void *user)
{
	for (size_t i = 0; i < ARRAY_SIZE(wrappers); i++) {
		const struct range6 *w = &wrappers[i];

		if (after(w->hi, w->lo, r.last_hi, r.last_lo))
			break;
		if (after(r.hi, r.lo, w->last_hi, w->last_lo))
			continue;
		if (after(w->hi, w->lo, r.hi, r.lo)) {
			struct range6 before = { r.hi, r.lo, w->lo ? w->hi : w->hi - 1, w->lo - 1 };

			tell6(&before, fn, user);
		}
		if (!after(r.last_hi, r.last_lo, w->last_hi, w->last_lo))
			return;
		r.lo = w->last_lo + 1;
		r.hi = w->last_hi + (r.lo == 0);
	}
	tell6(&r, fn, user);
}

void policy_wrapped_ranges(const struct ip_addr *first, const struct ip_addr *last,
			   policy_range_fn *fn, void *user)
{
	uint32_t a = get_be32(first->b), b = get_be32(last->b);

	/* :: and ::1 are addresses of their own. */
	if (b >= 2)
		tell6(&(struct range6){ 0, MAX(a, 2u), 0, b }, fn, user);
	tell6(&(struct range6){ 0, 0xffff00000000 | a, 0, 0xffff00000000 | b }, fn, user);
	tell6(&(struct range6){ 0, 0xffff000000000000 | a, 0, 0xffff000000000000 | b }, fn, user);
	tell6(&(struct range6){ 0x64ff9b00000000, a, 0x64ff9b00000000, b }, fn, user);
	tell6(&(struct range6){ 0x2002000000000000 | (uint64_t)a << 16, 0,
				0x200200000000ffff | (uint64_t)b << 16, UINT64_MAX },
	      fn, user);
}

void policy_group_ranges(enum policy_group g, policy_range_fn *fn, void *user)
{
	struct ip_addr first, last;

	for (unsigned wrapped = 0; wrapped < 2; wrapped++) {
		for (size_t i = 0; i < ARRAY_SIZE(group_runs4); i++) {
			bool end = i + 1 == ARRAY_SIZE(group_runs4);

			if (group_runs4[i].group != g)
				continue;
			first = last = (struct ip_addr){ .family = 4 };
			put_be32(first.b, group_runs4[i].first);
			put_be32(last.b, end ? UINT32_MAX : group_runs4[i + 1].first - 1);
			if (wrapped)
				policy_wrapped_ranges(&first, &last, fn, user);
			else
				fn(user, &first, &last);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(group_runs6); i++) {
		const struct group_run6 *r = &group_runs6[i], *next = r + 1;
		struct range6 run = { r->hi, r->lo, UINT64_MAX, UINT64_MAX };

		if (r->group != g)
			continue;
		if (i + 1 < ARRAY_SIZE(group_runs6)) {
			run.last_hi = next->lo ? next->hi : next->hi - 1;
			run.last_lo = next->lo - 1;
		}
		native6(run, fn, user);
	}
}

/* ---- what is inside ------------------------------------------------------------- */

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
	const char *words[ARRAY_SIZE(group_words) + 1] = { [ARRAY_SIZE(group_words)] = "doh" };

	for (size_t i = 0; i < ARRAY_SIZE(group_words); i++)
		words[i] = group_words[i].word;
	return str_suggest(s, words, ARRAY_SIZE(words));
}
