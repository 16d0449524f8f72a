/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policy to table. First match stays first match: each rule of the policy
 * becomes consecutive rules of a chain. Where the kernel knows less than the
 * policy asks (requests, names that nobody told), an allow allows nothing and a
 * deny denies all that it might mean.
 */
#include "nft/ruleset_internal.h"

#include <stdlib.h>

/* ---- runs ------------------------------------------------------------------------ */

/* Shorter runs keep a counter for each rule. */
#define RUN_MIN 64

/* Alike but for their prefixes, so that it makes no difference which of them decides. */
static bool alike(const struct policy_rule_view *a, const struct policy_rule_view *b)
{
	return b->dest == POLICY_DEST_PREFIX && !b->http && !b->limit && !b->id &&
	       a->action == b->action && a->dirs == b->dirs && a->protos == b->protos &&
	       a->n_ports == b->n_ports &&
	       (!a->n_ports || memcmp(a->ports, b->ports, a->n_ports * sizeof(*a->ports)) == 0);
}

static struct run run_from(const struct policy *p, size_t i)
{
	struct policy_rule_view first, next;
	struct run run = { i, i };

	policy_rule_view(p, i, &first);
	if (!alike(&first, &first))
		return run;
	while (run.last + 1 < policy_rule_count(p)) {
		policy_rule_view(p, run.last + 1, &next);
		if (!alike(&first, &next))
			break;
		run.last++;
	}
	return run.last - i + 1 < RUN_MIN ? (struct run){ i, i } : run;
}

/* ---- rules ----------------------------------------------------------------------- */

static int add_rule(struct nft_ruleset *rs, const struct nft_rule *rule)
{
	void *rules = rs->rules;
	int r = nft_grow(&rules, rs->n_rules, &rs->rules_size, sizeof(*rs->rules));

	rs->rules = rules;
	if (r == 0)
		rs->rules[rs->n_rules++] = *rule;
	return r;
}

/* One rule for each protocol and port range that the policy's rule names. */
static int add_conditions(struct nft_ruleset *rs, const struct policy_rule_view *v, struct nft_rule r)
{
	uint8_t protos = v->protos;
	int err = 0;

	if (v->n_ports && !protos)
		protos = POLICY_TCP | POLICY_UDP;
	if (!protos)
		return add_rule(rs, &r);
	for (unsigned bit = POLICY_TCP; bit <= POLICY_ICMPV6 && err == 0; bit <<= 1) {
		if (!(protos & bit))
			continue;
		if ((bit == POLICY_ICMPV4 && r.family == 6) ||
		    (bit == POLICY_ICMPV6 && r.family == 4))
			continue;
		r.proto = (uint8_t)bit;
		r.ports = (struct port_range){ 0, 0 };
		if (!v->n_ports)
			err = add_rule(rs, &r);
		for (size_t i = 0; i < v->n_ports && err == 0; i++) {
			r.ports = v->ports[i];
			err = add_rule(rs, &r);
		}
	}
	return err;
}

static int add_for_sets(struct nft_ruleset *rs, const struct policy_rule_view *v, struct nft_rule r,
			int at)
{
	int err = 0;

	r.set = at;
	if (at < 0)
		return add_conditions(rs, v, r);
	for (unsigned v6 = 0; v6 < 2 && err == 0; v6++) {
		const struct nft_set *s = &rs->sets[at + (int)v6];

		/* A set of names may be filled later; a fixed one that is empty matches nothing. */
		if (!s->by_name && !s->n_ranges)
			continue;
		r.family = s->family;
		r.set = at + (int)v6;
		err = add_conditions(rs, v, r);
	}
	return err;
}

static int add_run(struct nft_ruleset *rs, const struct policy *p, struct run run,
		   const struct nft_facts *facts, nft_note_fn *note, void *user)
{
	const size_t i = run.first;
	struct policy_rule_view v;
	struct nft_rule r = { .rule = (int)i, .last = (int)run.last };
	int by_addr = -1, by_name = -1, err = 0;

	policy_rule_view(p, i, &v);
	r.id = v.id;
	r.verdict = v.action == POLICY_ALLOW ? NFT_RULE_ACCEPT : NFT_RULE_REFUSE;
	if (v.http && v.action == POLICY_ALLOW) {
		note(user, (int)i, v.id,
		     "allows some requests only: the kernel reads none, left out");
		return 0;
	}
	if (v.limit) {
		note(user, (int)i, v.id,
		     "allows only so much at a time: these sets do not measure, left out");
		return 0;
	}
	if (v.http)
		note(user, (int)i, v.id,
		     "denies some requests: the kernel reads none, all are denied");
	if (v.dest == POLICY_DEST_GROUP && v.group == POLICY_GROUP_HOST && !facts->n_gateways)
		note(user, (int)i, v.id,
		     "is on group host: tell the gateway's address with --gateway");
	if (v.dest >= POLICY_DEST_NAME && v.action == POLICY_DENY)
		note(user, (int)i, v.id,
		     "denies by name: only addresses that are put into its set are refused");
	if (v.dest < POLICY_DEST_NAME || v.dest == POLICY_DEST_DOH)
		err = nft_address_sets(rs, p, &v, run, facts, &by_addr);
	if (err == 0 && v.dest >= POLICY_DEST_NAME)
		err = nft_name_sets(rs, p, &v, run, facts, &by_name);
	for (unsigned dir = POLICY_EGRESS; dir <= POLICY_INGRESS && err == 0; dir <<= 1) {
		if (!(v.dirs & dir))
			continue;
		r.dir = (enum policy_dir)dir;
		if (by_addr >= 0 || v.dest == POLICY_DEST_ANY)
			err = add_for_sets(rs, &v, r, by_addr);
		if (by_name >= 0 && err == 0)
			err = add_for_sets(rs, &v, r, by_name);
	}
	return err;
}

int nft_ruleset_make(const struct policy *p, const struct nft_facts *facts, nft_note_fn *note,
		     void *user, struct nft_ruleset *rs)
{
	int err = 0;

	rs->drop = policy_drops_denied(p);
	for (size_t i = 0; i < policy_rule_count(p) && err == 0;) {
		struct run run = run_from(p, i);

		err = add_run(rs, p, run, facts, note, user);
		i = run.last + 1;
	}
	for (unsigned dir = POLICY_EGRESS; dir <= POLICY_INGRESS && err == 0; dir <<= 1) {
		struct nft_rule last = { .dir = (enum policy_dir)dir, .set = -1, .rule = -1 };

		last.verdict = policy_default(p, last.dir) == POLICY_ALLOW ? NFT_RULE_ACCEPT
									   : NFT_RULE_REFUSE;
		err = add_rule(rs, &last);
	}
	return err;
}

const char *nft_rule_comment(const struct nft_rule *r, char *out, size_t size)
{
	if (r->rule < 0)
		snprintf(out, size, "weir default");
	else if (r->last > r->rule)
		snprintf(out, size, "weir %d-%d", r->rule, r->last);
	else
		snprintf(out, size, "weir %d%s%s", r->rule, r->id ? " " : "", r->id ? r->id : "");
	return out;
}

void nft_ruleset_fini(struct nft_ruleset *rs)
{
	for (size_t i = 0; i < rs->n_sets; i++) {
		free(rs->sets[i].ranges);
		free(rs->sets[i].addrs);
	}
	free(rs->sets);
	free(rs->rules);
	*rs = (struct nft_ruleset){ 0 };
}
