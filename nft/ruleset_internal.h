/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that make a table share. */
#ifndef WEIR_NFT_RULESET_INTERNAL_H
#define WEIR_NFT_RULESET_INTERNAL_H

#include "nft/ruleset.h"

/* Rules of the policy that share their sets: each with its own costs the kernel too much. */
struct run {
	size_t first, last;
};

/* Makes room for one more of what a list holds; doubles. */
must_check int nft_grow(void **list, size_t n, size_t *size, size_t each);

/*
 * The pair of sets of a run, filled; r is its first rule. *ret is the index of the IPv4
 * one, and IPv6 follows. By address: groups share theirs, -1 is any address.
 */
must_check int nft_address_sets(struct nft_ruleset *rs, const struct policy *p,
				const struct policy_rule_view *r, struct run run,
				const struct nft_facts *facts, int *ret);
must_check int nft_name_sets(struct nft_ruleset *rs, const struct policy *p,
			     const struct policy_rule_view *r, struct run run,
			     const struct nft_facts *facts, int *ret);

#endif
