/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lint_rules.c found of each rule, as findings: with an example, and the rules
 * that decide before it. Those are told from samples of what the rule speaks of.
 */
#include "base/base.h"
#include "policy/lint_rules.h"

/* ---- an example of what a rule speaks of ------------------------------------------- */

/* The k-th region that is part of what the rule speaks of; SPACE_NONE: no more. */
static uint32_t nth_name(const struct lint *l, uint32_t i, size_t k)
{
	uint32_t at = l->s->list[0].places[i].name;

	for (uint32_t n = at == SPACE_NONE ? 0 : at; n < l->s->n_names; n++) {
		uint32_t up = n;

		if (l->p->rules[i].dest == POLICY_DEST_DOH) {
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

	return r->dest == POLICY_DEST_ANY || policy_rule_covers_address(r, &f);
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

static int say_idle(struct lint *l, uint32_t i)
{
	const struct mark *m = &l->marks[i];
	struct firsts f = firsts_merge(m->name.f, m->addr.f);
	int next = f.b < l->p->n_rules ? (int)f.b : -1;
	char rule[LINT_RULE_TEXT], then[LINT_RULE_TEXT];

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

int lint_say_rules(struct lint *l)
{
	int r = 0;

	for (uint32_t i = 0; i < l->p->n_rules && r == 0; i++) {
		const struct policy_rule *rule = &l->p->rules[i];
		const struct mark *m = &l->marks[i];

		if (l->s->list[0].places[i].odd)
			continue;
		if (!m->lives)
			r = say_dead(l, i);
		else if (!m->matters)
			r = say_idle(l, i);
		else if (!m->named && rule->name && rule->action == POLICY_DENY &&
			 (rule->dirs & POLICY_EGRESS))
			r = say_nameless(l, i);
	}
	return r;
}
