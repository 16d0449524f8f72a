/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules that never decide, and rules without which every decision is the same.
 *
 * Within a service a flow is a pair: a class of names and a class of addresses,
 * each with the least index that matches it. So a rule decides some flow when it
 * is the least of some class, and a class of the other kind exists whose least
 * index is not smaller; one number per side (the largest least index) tells. And
 * taking the rule away changes something when one of those pairs would fall to a
 * rule of another outcome; the nearest such index on the other side tells.
 *
 * Questions to the resolver are pairs as well: the name that was asked, and the
 * name that its answer goes by way of (itself, or a CNAME's target).
 */
#include "base/base.h"
#include "policy/lint_rules.h"

static unsigned outcome(const struct lint *l, uint32_t i)
{
	const struct policy_rule *r = &l->p->rules[i];
	enum policy_action last = l->dir == POLICY_INGRESS ? l->p->ingress : l->p->egress;

	if (i >= l->p->n_rules)
		return last == POLICY_ALLOW;
	if (r->action == POLICY_DENY)
		return 0;
	/* A limit is a rule's own: what passes by another is not limited with it. */
	if (l->queries)
		return 1u | (unsigned)r->qtypes << 1;
	return 1u | (r->limit ? (i + 1) << 1 : 0);
}

static void side_fill(const struct lint *l, struct side *d)
{
	uint32_t n = (uint32_t)l->p->n_rules, near = SPACE_NONE, other = SPACE_NONE;

	d->max = 0;
	for (uint32_t i = 0; i <= n + 1; i++)
		d->at[i] = SPACE_NONE;
	for (uint32_t i = 0; i < d->n; i++) {
		/* A public address reads better in an example than 0.0.0.1. */
		if (d->at[d->v[i].f.a] == SPACE_NONE ||
		    (d == &l->addrs && d->v[i].region == l->public))
			d->at[d->v[i].f.a] = i;
		d->max = MAX(d->max, d->v[i].f.a);
	}
	for (uint32_t i = n + 2; i--;) {
		if (d->at[i] != SPACE_NONE) {
			if (near != SPACE_NONE && outcome(l, near) != outcome(l, i))
				other = near;
			near = i;
		}
		d->near[i] = near;
		d->near_other[i] = other;
	}
}

/* Index r is least on one side, `next` is what that side has behind it. */
static bool pair_matters(const struct lint *l, const struct side *other, uint32_t r, uint32_t next)
{
	uint32_t t = other->near[r + 1];

	if (t != SPACE_NONE && outcome(l, t) == outcome(l, r))
		t = other->near_other[r + 1];
	if (t != SPACE_NONE && t <= next)
		return true;
	return outcome(l, next) != outcome(l, r) && other->max >= next;
}

static void see(struct lint *l, const struct side *side, const struct side *other,
		const struct service *v)
{
	for (size_t i = 0; i < side->n; i++) {
		const struct class *c = &side->v[i];
		uint32_t r = c->f.a;
		struct mark *m;

		if (r >= l->p->n_rules || r > other->max)
			continue;
		m = &l->marks[r];
		if (!m->lives || (!m->named && c->state == NAME_PROVEN)) {
			const struct class *o = &other->v[other->at[other->max]];

			m->lives = true;
			m->named |= side == &l->names && c->state == NAME_PROVEN;
			m->query = l->queries;
			m->name = side == &l->names ? *c : *o;
			m->addr = side == &l->names ? *o : *c;
			if (v)
				m->at = v->extents[0];
		}
		m->matters = m->matters || pair_matters(l, other, r, c->f.b);
	}
}

/* Pairs in which one rule is least on both sides: of group doh, or one name twice. */
static void see_both(struct lint *l)
{
	for (size_t i = 0; i < l->names.n; i++) {
		uint32_t r = l->names.v[i].f.a;

		if (r >= l->p->n_rules || l->marks[r].matters || l->addrs.at[r] == SPACE_NONE ||
		    l->p->rules[r].dest != POLICY_DEST_DOH)
			continue;
		for (size_t k = 0; k < l->addrs.n && !l->marks[r].matters; k++)
			if (l->addrs.v[k].f.a == r)
				l->marks[r].matters =
					outcome(l, MIN(l->names.v[i].f.b, l->addrs.v[k].f.b)) !=
					outcome(l, r);
	}
}

static void add(struct side *d, struct firsts f, enum name_state st, uint32_t region)
{
	d->v[d->n++] = (struct class){ f, st, region };
}

static void fill_flows(struct lint *l)
{
	const struct space *s = l->s;

	l->names.n = l->addrs.n = 0;
	for (uint32_t i = 0; i < s->n_names && l->dir != POLICY_INGRESS; i++) {
		if (!s->names[i].exists)
			continue;
		add(&l->names, space_name_firsts(s, 0, NAME_PROVEN, i), NAME_PROVEN, i);
		add(&l->names, space_name_firsts(s, 0, NAME_CLAIMED, i), NAME_CLAIMED, i);
	}
	add(&l->names, space_name_firsts(s, 0, NAME_NONE, 0), NAME_NONE, 0);
	for (uint32_t i = 0; i < s->n_addrs; i++) {
		if (!s->addrs[i].exists)
			continue;
		if (!s->addrs[i].gateway || l->dir != POLICY_INGRESS)
			add(&l->addrs, space_addr_firsts(s, 0, i), NAME_NONE, i);
	}
}

static void fill_queries(struct lint *l)
{
	const struct space *s = l->s;

	l->names.n = l->addrs.n = 0;
	for (uint32_t i = 0; i < s->n_names; i++) {
		struct firsts f;

		if (!s->names[i].exists)
			continue;
		f = space_name_firsts(s, 0, NAME_PROVEN, i);
		add(&l->names, f, NAME_PROVEN, i);
		add(&l->addrs, firsts_merge(f, s->list[0].any), NAME_NONE, i);
	}
}

static void see_all(struct lint *l, const struct service *v)
{
	side_fill(l, &l->names);
	side_fill(l, &l->addrs);
	see(l, &l->names, &l->addrs, v);
	see(l, &l->addrs, &l->names, v);
	see_both(l);
}

static int side_init(struct side *d, size_t classes, size_t n_rules)
{
	d->v = calloc(classes, sizeof(*d->v));
	d->at = calloc(n_rules + 2, sizeof(*d->at));
	d->near = calloc(n_rules + 2, sizeof(*d->near));
	d->near_other = calloc(n_rules + 2, sizeof(*d->near_other));
	return d->v && d->at && d->near && d->near_other ? 0 : -ENOMEM;
}

static void side_fini(struct side *d)
{
	free(d->v);
	free(d->at);
	free(d->near);
	free(d->near_other);
}

static int mark_all(struct lint *l)
{
	size_t n = l->p->n_rules, most = 2 * MAX(l->s->n_names, l->s->n_addrs) + 2;
	int r = side_init(&l->names, most, n);

	if (r == 0)
		r = side_init(&l->addrs, most, n);
	for (size_t i = 0; i < l->s->n_services && r == 0; i++) {
		const struct service *v = &l->s->services[i];

		r = space_solve(l->s, v);
		l->dir = v->extents[0].dir;
		if (r == 0) {
			fill_flows(l);
			see_all(l, v);
		}
	}
	if (r == 0)
		r = space_solve_queries(l->s);
	if (r == 0) {
		l->queries = true;
		l->dir = POLICY_EGRESS;
		fill_queries(l);
		see_all(l, NULL);
	}
	return r;
}

/* Some public address, for rules by name. */
static uint32_t public_region(const struct space *s)
{
	uint32_t best = 1;

	for (uint32_t i = 1; i < s->n_addrs; i++)
		if (s->addrs[i].exists && s->addrs[i].group == POLICY_GROUP_PUBLIC &&
		    (!s->addrs[best].exists || s->addrs[best].group != POLICY_GROUP_PUBLIC ||
		     (s->addrs[i].sample.family == 4 && s->addrs[i].sample.b[0] == 93)))
			best = i;
	return best;
}

int lint_rules(const struct policy *p, const struct policy_gateways *gw, struct policy_findings *ret)
{
	struct lint l = { .p = p, .out = ret };
	struct why why = { "" };
	int r = space_new(p, NULL, gw, &l.s, &why);

	if (r == 0) {
		l.public = public_region(l.s);
		l.marks = calloc(p->n_rules + 1, sizeof(*l.marks));
		r = l.marks ? mark_all(&l) : -ENOMEM;
		if (r == -E2BIG)
			why_set(&why, "too many rules with different ports or requests");
	}
	if (r == 0)
		r = lint_say_rules(&l);
	if (r == -E2BIG) {
		snprintf(ret->incomplete, sizeof(ret->incomplete), "%.200s", why.text);
		r = 0;
	}
	side_fini(&l.names);
	side_fini(&l.addrs);
	free(l.marks);
	space_free(l.s);
	return r;
}
