/* SPDX-License-Identifier: Apache-2.0 */
/* Group doh: known DNS-over-HTTPS resolvers, from doh.tsv. */
#include "base/base.h"
#include "policy/policy_internal.h"

#include "doh_table.h"

/* Binary search in a sorted table of texts. */
static bool has(const char *const *table, size_t n, const char *s)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(table[mid], s);

		if (c == 0)
			return true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

bool policy_doh_name(const struct name *n)
{
	if (has(doh_names, ARRAY_SIZE(doh_names), n->s))
		return true;
	for (const char *s = n->s; s; s = strchr(s, '.')) {
		s += *s == '.';
		if (has(doh_suffixes, ARRAY_SIZE(doh_suffixes), s))
			return true;
	}
	return false;
}

const char *policy_doh_nth_name(size_t i, bool *ret_below)
{
	*ret_below = i >= ARRAY_SIZE(doh_names);
	if (!*ret_below)
		return doh_names[i];
	i -= ARRAY_SIZE(doh_names);
	return i < ARRAY_SIZE(doh_suffixes) ? doh_suffixes[i] : NULL;
}

/* IPv4 first, then by the bits. */
static int compare(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->family != b->family ? a->family - b->family : memcmp(a->b, b->b, ip_size(a));
}

/* The table is sorted and no prefix holds another: only the last one at or before a may hold it. */
static bool in_table(const struct ip_addr *a)
{
	size_t lo = 0, hi = ARRAY_SIZE(doh_prefixes);

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (compare(&doh_prefixes[mid].addr, a) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 && ip_in_prefix(a, &doh_prefixes[lo - 1]);
}

bool policy_doh_address(const struct ip_addr *a, enum policy_action action)
{
	struct ip_addr in[2];
	size_t n = policy_embedded_all(a, in), hits = 0;

	if (in_table(a))
		return true;
	for (size_t i = 0; i < n; i++)
		hits += in_table(&in[i]);
	return action == POLICY_ALLOW ? n && hits == n : hits > 0;
}

size_t policy_doh_prefixes(const struct ip_prefix **ret)
{
	*ret = doh_prefixes;
	return ARRAY_SIZE(doh_prefixes);
}

bool policy_verdict_is_doh(const struct policy *p, const struct policy_verdict *v)
{
	const struct policy *of = v->floor ? p->floor : p;

	return of && v->rule >= 0 && (size_t)v->rule < of->n_rules &&
	       of->rules[v->rule].dest == POLICY_DEST_DOH;
}
