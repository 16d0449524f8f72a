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

bool policy_doh_address(const struct ip_addr *a)
{
	struct ip_addr in[2];
	size_t n = policy_embedded_all(a, in);

	for (size_t i = 0; i < ARRAY_SIZE(doh_prefixes); i++) {
		if (ip_in_prefix(a, &doh_prefixes[i]))
			return true;
		for (size_t k = 0; k < n; k++)
			if (ip_in_prefix(&in[k], &doh_prefixes[i]))
				return true;
	}
	return false;
}

bool policy_verdict_is_doh(const struct policy *p, const struct policy_verdict *v)
{
	const struct policy *of = v->floor ? p->floor : p;

	return of && v->rule >= 0 && (size_t)v->rule < of->n_rules &&
	       of->rules[v->rule].dest == DEST_DOH;
}
