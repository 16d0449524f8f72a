/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of single rules: the flows that a rule with "limit" allows are a class
 * of the stack's, with buckets of their own, and there are only so many of them.
 *
 * A class is made when the first flow comes, and goes with the policy: under the
 * next one every live flow is put into the class of the rule that allows it
 * then. More flows than the new rule has connections stay; no more come.
 *
 * A flow whose requests are judged one by one belongs to the rule that would
 * allow it without a request, if there is one: some of them may pass by it.
 */
#include "weir/gateway_int.h"

struct rule_limit {
	struct hmap_node node;
	struct list all;
	int rule;
	const struct policy_limit *limit; /* the policy's */
	struct netstack_class *class;
};

static uint64_t rule_hash(const struct gateway *gw, int rule)
{
	return hash_bytes(&gw->key, &rule, sizeof(rule));
}

/* NULL: the rule has no limit, or (*ret_failed) there is no memory for one. */
static struct rule_limit *limit_of(struct gateway *gw, int rule, bool *ret_failed)
{
	const struct policy_limit *l = policy_rule_limit(gw->judge.policy, rule);
	struct netstack_rates rates;
	struct rule_limit *x;

	*ret_failed = false;
	if (!l)
		return NULL;
	hmap_for_hash (it, &gw->rule_limits, rule_hash(gw, rule)) {
		x = container_of(it, struct rule_limit, node);
		if (x->rule == rule)
			return x;
	}
	*ret_failed = true;
	rates.up = (struct netstack_rate){ l->bandwidth, l->burst, l->packets };
	rates.down = rates.up;
	x = calloc(1, sizeof(*x));
	if (!x || netstack_class_new(gw->ns, &rates, &x->class) < 0) {
		free(x);
		return NULL;
	}
	x->rule = rule;
	x->limit = l;
	hmap_insert(&gw->rule_limits, &x->node, rule_hash(gw, rule));
	list_add_tail(&gw->all_limits, &x->all);
	*ret_failed = false;
	return x;
}

/* Which rule it is that lets this flow through; -1: none with a say in this. */
static int rule_of(const struct gateway *gw, const struct ruling *r, const struct policy_facts *facts)
{
	struct policy_facts without;
	struct policy_verdict v;

	/* A denial that is only observed, or none of the rules' business. */
	if (r->observed || !r->ruled)
		return -1;
	if (r->answer == POLICY_ANSWER_ALLOW && !r->by.floor)
		return r->by.rule;
	if (!facts)
		return -1;
	without = *facts;
	without.http = POLICY_NONE;
	v = policy_decide_own(gw->judge.policy, &without);
	return v.answer == POLICY_ANSWER_ALLOW ? v.rule : -1;
}

const char *gateway_limit_full(struct gateway *gw, const struct ruling *r,
			       const struct policy_facts *facts)
{
	bool failed;
	struct rule_limit *x = limit_of(gw, rule_of(gw, r, facts), &failed);

	if (failed)
		return "out of memory for the rule's limit";
	if (x && x->limit->connections && netstack_class_flows(x->class) >= x->limit->connections)
		return "the rule's limit of connections is reached";
	return NULL;
}

void gateway_limit_join(struct flow *f, const struct policy_facts *facts)
{
	bool failed;
	struct rule_limit *x = limit_of(f->gw, rule_of(f->gw, &f->ruling, facts), &failed);

	netstack_flow_set_class(f->ns, x ? x->class : NULL);
}

void gateway_limits_forget(struct gateway *gw)
{
	list_for_each_safe (it, next, &gw->all_limits) {
		struct rule_limit *x = container_of(it, struct rule_limit, all);

		hmap_remove(&gw->rule_limits, &x->node);
		list_del(&x->all);
		netstack_class_free(x->class);
		free(x);
	}
}
