/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rule's "qtypes": DNS types that may be asked of the names it allows, beyond
 * those that name an address. They carry text of the asker's and the answerer's
 * choosing, so they are opened one by one.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

#include <strings.h>

static const char *const words[] = { "MX", "SRV", "TXT" };

int policy_rule_add_qtype(struct policy_rule *r, const char *s, struct why *why)
{
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (str_eq(s, words[i])) {
			r->qtypes |= (uint8_t)(1u << i);
			return 0;
		}
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (strcasecmp(s, words[i]) == 0)
			return why_set(why, "unknown query type \"%s\": write it \"%s\"", s,
				       words[i]);
	return why_set(why,
		       "unknown query type \"%.32s\": it is MX, SRV or TXT (A, AAAA, HTTPS and "
		       "SVCB may always be asked)",
		       s);
}

const char *policy_qtype_word(unsigned bit)
{
	return bit < ARRAY_SIZE(words) ? words[bit] : NULL;
}

/* Is there a name for which this rule decides a query? The evaluator knows. */
static bool speaks_of_queries(const struct policy_rule *r)
{
	struct policy_rule copy = *r;
	struct policy one = { .rules = &copy, .n_rules = 1 };
	struct name any = { 0 };

	/* An allow by name always does. */
	return rule_by_name(r) || policy_linear_query(&one, &any).rule == 0;
}

int policy_rule_check_qtypes(const struct policy_rule *r, struct why *why)
{
	if (!r->qtypes)
		return 0;
	if (r->action != POLICY_ALLOW)
		return why_set(why,
			       "\"qtypes\" opens types of queries: it belongs in an allow rule; "
			       "what no rule opens is not asked");
	if (!(r->dirs & POLICY_EGRESS))
		return why_set(why, "\"qtypes\" in an ingress rule: queries are egress");
	if (!speaks_of_queries(r))
		return why_set(why, "\"qtypes\" in a rule that never decides a query: it takes a "
				    "destination by "
				    "name, or \"*\" or \"host\" with port 53");
	return 0;
}
