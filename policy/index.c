/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling a list of rules into an index. */
#include "base/base.h"
#include "policy/index.h"

static struct bucket *plain_bucket(struct policy_index *x, const struct policy_rule *r)
{
	switch (r->dest) {
	case POLICY_DEST_ANY:
		return &x->any;
	case POLICY_DEST_GROUP:
		return &x->groups[r->group];
	case POLICY_DEST_DOH:
		return &x->doh;
	default:
		return NULL;
	}
}

/* Rules whose destination needs no look-up; and what there is at all. */
static int add_plain(struct policy_index *x, const struct policy *p)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];
		struct bucket *b = plain_bucket(x, r);
		int err = b ? bucket_add(&x->store, b, r, (uint32_t)i) : 0;

		if (err < 0)
			return err;
		x->has_groups |= r->dest == POLICY_DEST_GROUP;
		x->has_names |= rule_by_name(r);
		if (!rule_by_name(r) && x->query == NONE && policy_rule_covers_query(r))
			x->query = (uint32_t)i;
	}
	return 0;
}

static int seal_plain(struct policy_index *x)
{
	int err = bucket_seal(&x->store, &x->any, false);

	if (err == 0)
		err = bucket_seal(&x->store, &x->doh, false);
	for (size_t i = 0; i < POLICY_GROUPS && err == 0; i++)
		err = bucket_seal(&x->store, &x->groups[i], false);
	return err;
}

/* ---- what a missing fact never escapes ------------------------------------------- */

static bool is_deny_name(const struct policy_rule *r)
{
	return r->action == POLICY_DENY && rule_by_name(r) && r->dest != POLICY_DEST_DOH;
}

static bool is_deny_prefix(const struct policy_rule *r)
{
	return r->action == POLICY_DENY && r->dest == POLICY_DEST_PREFIX;
}

static bool is_deny_group(const struct policy_rule *r)
{
	return r->action == POLICY_DENY && r->dest == POLICY_DEST_GROUP &&
	       r->group != POLICY_GROUP_HOST;
}

static int map_denies(struct policy_index *x, const struct policy *p)
{
	int err = bucket_map_rules(&x->store, p, is_deny_name, &x->deny_names);

	if (err == 0)
		err = bucket_map_rules(&x->store, p, is_deny_prefix, &x->deny_prefixes);
	if (err == 0)
		err = bucket_map_rules(&x->store, p, is_deny_group, &x->deny_groups);
	return err;
}

/* ---- ports at which rules by address change --------------------------------------- */

static int add_ports(struct policy_index *x, const struct policy *p)
{
	uint8_t *cuts = calloc(65536 + 1, 1);
	int err = cuts ? 0 : -ENOMEM;

	if (cuts)
		cuts[1] = 1;
	for (size_t i = 0; i < p->n_rules && err == 0; i++) {
		const struct policy_rule *r = &p->rules[i];

		for (size_t k = 0; k < r->n_ports && !rule_by_name(r); k++) {
			cuts[r->ports[k].lo] = 1;
			cuts[(uint32_t)r->ports[k].hi + 1] = 1;
		}
	}
	for (uint32_t port = 1; port <= UINT16_MAX && err == 0; port++) {
		uint16_t *e = cuts[port] ? vec_add(&x->ports, sizeof(*e)) : NULL;

		if (e)
			*e = (uint16_t)port;
		else if (cuts[port])
			err = -ENOMEM;
	}
	free(cuts);
	return err;
}

static int note_texts(struct policy_index *x, const struct policy *p)
{
	x->texts = calloc(p->n_rules / 64 + 1, sizeof(*x->texts));
	for (size_t i = 0; i < p->n_rules && x->texts; i++)
		if (p->rules[i].id || p->rules[i].reason)
			x->texts[i / 64] |= UINT64_C(1) << (i % 64);
	return x->texts ? 0 : -ENOMEM;
}

/* ---- the whole ---------------------------------------------------------------------- */

static int build(struct policy_index *x, const struct policy *p)
{
	int err = add_plain(x, p);
	uint32_t doh = x->doh.first.rule;

	if (err == 0)
		err = seal_plain(x);
	if (err == 0)
		err = address_index_build(&x->v4, &x->store, p, 4, doh);
	if (err == 0)
		err = address_index_build(&x->v6, &x->store, p, 6, doh);
	if (err == 0)
		err = name_index_build(&x->names, &x->store, p, doh != NONE);
	if (err == 0)
		err = map_denies(x, p);
	if (err == 0)
		err = add_ports(x, p);
	if (err == 0)
		err = note_texts(x, p);
	if (err == 0)
		bucket_store_trim(&x->store);
	return err;
}

int policy_finish(struct policy *p, struct why *why)
{
	struct policy_index *x = calloc(1, sizeof(*x));
	int err = x ? 0 : -ENOMEM;

	if (x) {
		x->any = x->doh = BUCKET_EMPTY;
		for (size_t i = 0; i < POLICY_GROUPS; i++)
			x->groups[i] = BUCKET_EMPTY;
		x->query = NONE;
		err = build(x, p);
	}
	if (err < 0) {
		policy_index_free(x);
		if (err == -E2BIG)
			return why_set(why, "more than %u port ranges in all rules", NONE);
		why_set(why, "out of memory");
		return err;
	}
	policy_index_free(p->index);
	p->index = x;
	return 0;
}

void policy_index_free(struct policy_index *x)
{
	if (!x)
		return;
	bucket_store_fini(&x->store);
	address_index_fini(&x->v4);
	address_index_fini(&x->v6);
	name_index_fini(&x->names);
	vec_fini(&x->ports);
	free(x->texts);
	free(x);
}
