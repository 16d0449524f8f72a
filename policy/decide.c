/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions: the policy's own word and that of the operator's floor below it.
 * What passes must pass both, so of two answers the less permissive stands.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

/* In order of what the flow may still become: nothing, ..., anything. */
static unsigned freedom(enum policy_answer a)
{
	static const unsigned order[] = {
		[POLICY_ANSWER_DENY] = 0,
		[POLICY_ANSWER_NEED_NAME] = 1,
		[POLICY_ANSWER_NEED_HTTP] = 2,
		[POLICY_ANSWER_ALLOW] = 3,
	};

	return order[a];
}

static struct policy_verdict both(struct policy_verdict own, struct policy_verdict floor)
{
	if (freedom(own.answer) <= freedom(floor.answer))
		return own;
	floor.floor = true;
	return floor;
}

static struct policy_verdict decide(const struct policy *p, const struct policy_facts *f)
{
	struct policy_facts nameless;

	if (!policy_is_nameless(p, f))
		return policy_match_decide(p, f);
	nameless = *f;
	nameless.name = POLICY_NONE;
	nameless.names = NULL;
	nameless.n_names = 0;
	return policy_match_decide(p, &nameless);
}

struct policy_verdict policy_decide(const struct policy *p, const struct policy_facts *f)
{
	struct policy_verdict v = decide(p, f);

	return p->floor ? both(v, decide(p->floor, f)) : v;
}

struct policy_verdict policy_decide_query(const struct policy *p, const struct name *n)
{
	struct policy_verdict v = policy_match_query(p, n);

	return p->floor ? both(v, policy_match_query(p->floor, n)) : v;
}

bool policy_query_exact(const struct policy *p, const struct name *n)
{
	struct policy_verdict v = policy_match_query(p, n);

	return v.rule >= 0 && p->rules[v.rule].dest == POLICY_DEST_NAME;
}

bool policy_query_type(const struct policy *p, const struct name *n, enum policy_qtype type)
{
	struct policy_verdict v = policy_decide_query(p, n);

	return v.answer == POLICY_ANSWER_ALLOW && v.rule >= 0 && (p->rules[v.rule].qtypes & type);
}

struct policy_verdict policy_decide_alias(const struct policy *p, const struct name *asked,
					  const struct name *alias)
{
	struct policy_verdict v = policy_match_alias(p, asked, alias);

	return p->floor ? both(v, policy_match_alias(p->floor, asked, alias)) : v;
}
