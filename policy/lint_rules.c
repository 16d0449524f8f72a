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
#include "policy/lint.h"
#include "policy/space.h"

/* One class of one side. */
struct class
{
	struct firsts f;
	enum name_state state;
	uint32_t region;
};

/* What one side's classes say, by index. n stands for the default. */
struct side {
	struct class *v;
	size_t n;
	uint32_t *at;	      /* a class whose least this index is; SPACE_NONE: none */
	uint32_t *near;	      /* the least index from here on that some class has */
	uint32_t *near_other; /* the same, with another outcome than near's */
	uint32_t max;
};

struct mark {
	bool lives;	  /* decides some flow */
	bool named;	  /* a rule by name: for a flow that proves a name of its own */
	bool matters;	  /* without it some decision is another */
	bool query;	  /* seen is a question to the resolver */
	struct extent at; /* what was seen when lives was set */
	struct class name, addr;
};

struct lint {
	const struct policy *p;
	struct space *s;
	struct policy_findings *out;
	struct side names, addrs;
	struct mark *marks;
	bool queries;
	enum policy_dir dir;
	uint32_t public; /* a region of public addresses */
};

static unsigned outcome(const struct lint *l, uint32_t i)
{
	const struct policy_rule *r = &l->p->rules[i];
	enum policy_action last = l->dir == POLICY_INGRESS ? l->p->ingress : l->p->egress;

	if (i >= l->p->n_rules)
		return last == POLICY_ALLOW;
	if (r->action == POLICY_DENY)
		return 0;
	return 1u | (l->queries ? (unsigned)r->qtypes << 1 : 0);
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
		    l->p->rules[r].dest != DEST_DOH)
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

/* ---- an example of what a rule speaks of ------------------------------------------- */

/* The k-th region that is part of what the rule speaks of; SPACE_NONE: no more. */
static uint32_t nth_name(const struct lint *l, uint32_t i, size_t k)
{
	uint32_t at = l->s->list[0].places[i].name;

	for (uint32_t n = at == SPACE_NONE ? 0 : at; n < l->s->n_names; n++) {
		uint32_t up = n;

		if (l->p->rules[i].dest == DEST_DOH) {
			if (l->s->names[n].exists && l->s->names[n].doh && k-- == 0)
				return n;
			continue;
		}
		while (up > at)
			up = l->s->names[up].parent;
		if (up != at)
			break;
		if (l->s->names[n].exists && k-- == 0)
			return n;
	}
	return SPACE_NONE;
}

static bool speaks_of_region(const struct lint *l, uint32_t i, uint32_t region)
{
	const struct policy_rule *r = &l->p->rules[i];
	struct policy_facts f = { .addr = l->s->addrs[region].sample,
				  .is_host = l->s->addrs[region].gateway };

	return r->dest == DEST_ANY || policy_rule_covers_address(r, &f);
}

static uint32_t nth_addr(const struct lint *l, uint32_t i, size_t k)
{
	const struct rule_place *at = &l->s->list[0].places[i];
	uint32_t from = at->n_addrs ? at->addrs[0] : 1;

	for (uint32_t n = from; n < l->s->n_addrs; n++) {
		if (at->n_addrs && l->s->addrs[n].prefix.len <= l->s->addrs[from].prefix.len &&
		    n > from)
			break;
		if (l->s->addrs[n].exists && speaks_of_region(l, i, n) && k-- == 0)
			return n;
	}
	return SPACE_NONE;
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

/* An extent in which the rule is in play. */
static bool extent_of(const struct lint *l, const struct policy_rule *r, struct extent *ret)
{
	static const enum policy_proto protos[] = { POLICY_TCP, POLICY_UDP, POLICY_ICMPV4,
						    POLICY_ICMPV6 };

	for (size_t k = 0; k < ARRAY_SIZE(protos); k++)
		for (uint32_t q = 0; q < (protos[k] == POLICY_TCP ? l->s->n_requests : 1); q++) {
			*ret = (struct extent){
				.dir = r->dirs & POLICY_EGRESS ? POLICY_EGRESS : POLICY_INGRESS,
				.proto = protos[k],
				.request = q,
				.ports = r->n_ports ? r->ports[0] : (struct port_range){ 1, 65535 },
			};
			if (protos[k] & (POLICY_ICMPV4 | POLICY_ICMPV6))
				ret->ports = (struct port_range){ 0, 0 };
			if (q == 0 && rule_has_http(r))
				continue;
			if (space_in_play(l->s, r, ret))
				return true;
		}
	return false;
}

#define DECIDERS_MAX 3
#define SAMPLES_MAX 32

struct shadow {
	int by[DECIDERS_MAX];
	size_t n;
	bool more;
	char *example; /* decided by by[0] */
};

static void shadow_note(struct shadow *w, int by)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->by[i] == by)
			return;
	if (w->n < DECIDERS_MAX)
		w->by[w->n++] = by;
	else
		w->more = true;
}

/* Who decides what the rule speaks of, asked of the evaluator itself. */
static bool shadow_of(const struct lint *l, uint32_t i, struct shadow *ret)
{
	const struct policy_rule *r = &l->p->rules[i];
	struct extent e;

	*ret = (struct shadow){ 0 };
	if (!extent_of(l, r, &e))
		return false;
	for (size_t k = 0; k < SAMPLES_MAX; k++) {
		bool by_name = rule_by_name(r) && e.dir == POLICY_EGRESS;
		uint32_t region = by_name ? nth_name(l, i, k) : nth_addr(l, i, k);
		uint32_t addr = by_name ? l->public : region;
		struct name name;
		struct policy_facts f;
		struct policy_verdict v;

		if (region == SPACE_NONE)
			break;
		f = space_facts(l->s, &e, by_name ? NAME_PROVEN : NAME_NONE, region, addr, &name);
		v = policy_linear_decide(l->p, &f);
		if (v.rule < 0 || v.rule >= (int)i)
			continue;
		shadow_note(ret, v.rule);
		if (!ret->example)
			ret->example = lint_example(&f);
	}
	return ret->n > 0;
}

/* "rule 0 (a), rule 1 and others" */
static void shadow_text(const struct lint *l, const struct shadow *w, char *out, size_t size)
{
	size_t at = 0;

	out[0] = 0;
	for (size_t i = 0; i < w->n && at < size; i++) {
		char rule[LINT_RULE_TEXT];
		bool is_last = i + 1 == w->n && !w->more;

		at += (size_t)snprintf(out + at, size - at, "%s%s",
				       i == 0	 ? ""
				       : is_last ? " and "
						 : ", ",
				       lint_rule_text(l->p, w->by[i], rule));
	}
	if (w->more && at < size)
		snprintf(out + at, size - at, " and others");
}

/* ---- findings ------------------------------------------------------------------------ */

static int say_dead(struct lint *l, uint32_t i)
{
	char rule[LINT_RULE_TEXT], by[DECIDERS_MAX * LINT_RULE_TEXT], first[LINT_RULE_TEXT];
	struct shadow w;

	if (!shadow_of(l, i, &w))
		return lint_add(l->out, l->p, POLICY_WARNING, "never-matches", (int)i, -1, NULL,
				"%s can never match: no flow is left for it. Delete it.",
				lint_rule_text(l->p, (int)i, rule));
	shadow_text(l, &w, by, sizeof(by));
	return lint_add(
		l->out, l->p, POLICY_WARNING, "never-matches", (int)i, w.by[0], w.example,
		"%s can never match: %s %s all of it before. Delete it, or move it in front of "
		"%s.",
		lint_rule_text(l->p, (int)i, rule), by, w.n > 1 ? "together decide" : "decides",
		lint_rule_text(l->p, w.by[0], first));
}

/* A deny by name behind a wider allow: flows that prove the name never get there. */
static bool is_nameless(const struct lint *l, uint32_t i)
{
	const struct policy_rule *r = &l->p->rules[i];

	return !l->marks[i].named && r->name && r->action == POLICY_DENY && (r->dirs & POLICY_EGRESS);
}

static int say_nameless(struct lint *l, uint32_t i)
{
	char rule[LINT_RULE_TEXT], by[DECIDERS_MAX * LINT_RULE_TEXT], first[LINT_RULE_TEXT];
	struct shadow w;

	if (!shadow_of(l, i, &w))
		return 0;
	shadow_text(l, &w, by, sizeof(by));
	return lint_add(
		l->out, l->p, POLICY_WARNING, "name-decided-before", (int)i, w.by[0], w.example,
		"%s denies no flow by its name: %s %s first. Only flows that show no name, or "
		"only claim one, get there. Move it in front of %s.",
		lint_rule_text(l->p, (int)i, rule), by, w.n > 1 ? "decide" : "decides",
		lint_rule_text(l->p, w.by[0], first));
}

static char *mark_example(const struct lint *l, const struct mark *m)
{
	struct name name;
	struct policy_facts f;

	if (m->query)
		return space_name_sample(l->s, m->name.region, &name) ? strdup(name.s) : NULL;
	f = space_facts(l->s, &m->at, m->name.state, m->name.region, m->addr.region, &name);
	return lint_example(&f);
}

/*
 * An idle deny whose name an earlier rule allows: to say only that it can be
 * deleted would be true, and not what its author wants to know.
 */
static bool say_bypassed(struct lint *l, uint32_t i, int *ret)
{
	char rule[LINT_RULE_TEXT], by[DECIDERS_MAX * LINT_RULE_TEXT], first[LINT_RULE_TEXT];
	struct shadow w;

	if (!is_nameless(l, i) || !shadow_of(l, i, &w))
		return false;
	if (l->p->rules[w.by[0]].action != POLICY_ALLOW) {
		free(w.example);
		return false;
	}
	shadow_text(l, &w, by, sizeof(by));
	*ret = lint_add(l->out, l->p, POLICY_WARNING, "changes-nothing", (int)i, w.by[0], w.example,
			"%s denies nothing: %s %s flows to its name first. Move it in front "
			"of %s, or delete it.",
			lint_rule_text(l->p, (int)i, rule), by, w.n > 1 ? "decide" : "decides",
			lint_rule_text(l->p, w.by[0], first));
	return true;
}

static int say_idle(struct lint *l, uint32_t i)
{
	const struct mark *m = &l->marks[i];
	struct firsts f = firsts_merge(m->name.f, m->addr.f);
	int next = f.b < l->p->n_rules ? (int)f.b : -1;
	char rule[LINT_RULE_TEXT], then[LINT_RULE_TEXT];
	int r;

	if (say_bypassed(l, i, &r))
		return r;
	/* Deleting both, as each finding would have it, is more than either means. */
	if (next >= 0 && !l->marks[next].lives)
		return lint_add(l->out, l->p, POLICY_WARNING, "changes-nothing", (int)i, next,
				mark_example(l, m),
				"%s changes nothing as long as %s is there, and that one never "
				"matches: keep one of them.",
				lint_rule_text(l->p, (int)i, rule), lint_rule_text(l->p, next, then));
	return lint_add(l->out, l->p, next < 0 ? POLICY_NOTE : POLICY_WARNING, "changes-nothing",
			(int)i, next, mark_example(l, m),
			"%s changes nothing: without it %s %s the same%s. It can be deleted.",
			lint_rule_text(l->p, (int)i, rule), lint_rule_text(l->p, next, then),
			l->p->rules[i].action == POLICY_ALLOW ? "allows" : "denies",
			next < 0 ? "" : ", or a rule behind it");
}

static int say_all(struct lint *l)
{
	int r = 0;

	for (uint32_t i = 0; i < l->p->n_rules && r == 0; i++) {
		const struct mark *m = &l->marks[i];

		if (l->s->list[0].places[i].odd)
			continue;
		if (!m->lives)
			r = say_dead(l, i);
		else if (!m->matters)
			r = say_idle(l, i);
		else if (is_nameless(l, i))
			r = say_nameless(l, i);
	}
	return r;
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
		r = say_all(&l);
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
