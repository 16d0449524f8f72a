/* SPDX-License-Identifier: Apache-2.0 */
/* The space of facts: put together, solved for one service, and shown as a flow. */
#include "base/base.h"
#include "policy/space.h"

struct firsts firsts_merge(struct firsts x, struct firsts y)
{
	uint32_t v[2], n = 0;

	/* Of four in two sorted pairs the least two that differ; group doh stands in both. */
	while (n < 2) {
		uint32_t least = MIN(x.a, y.a);

		v[n++] = least;
		if (x.a == least)
			x = (struct firsts){ x.b, UINT32_MAX };
		if (y.a == least)
			y = (struct firsts){ y.b, UINT32_MAX };
	}
	return (struct firsts){ v[0], v[1] };
}

static void put(struct firsts *f, uint32_t rule)
{
	if (rule < f->a)
		*f = (struct firsts){ rule, f->a };
	else if (rule > f->a && rule < f->b)
		f->b = rule;
}

/* ---- one service --------------------------------------------------------------- */

static void clear(struct space *s, struct space_list *l)
{
	const struct firsts none = { (uint32_t)l->p->n_rules, (uint32_t)l->p->n_rules };

	l->any = l->host = l->doh = l->none = none;
	for (size_t g = 0; g < POLICY_GROUPS; g++)
		l->group[g] = none;
	for (size_t i = 0; i < s->n_names; i++)
		l->names[i] = l->claimed[i] = none;
	for (size_t i = 0; i < s->n_addrs; i++)
		l->addrs[i] = none;
}

/* A rule that is in play, to the regions it speaks of. */
static void enter(struct space_list *l, uint32_t i)
{
	const struct policy_rule *r = &l->p->rules[i];
	const struct rule_place *at = &l->places[i];

	switch (r->dest) {
	case POLICY_DEST_ANY:
		put(&l->any, i);
		break;
	case POLICY_DEST_GROUP:
		put(r->group == POLICY_GROUP_HOST ? &l->host : &l->group[r->group], i);
		break;
	case POLICY_DEST_PREFIX:
		for (unsigned k = 0; k < at->n_addrs; k++)
			put(&l->addrs[at->addrs[k]], i);
		break;
	case POLICY_DEST_DOH:
		put(&l->doh, i);
		break;
	case POLICY_DEST_NAME:
	case POLICY_DEST_SUFFIX:
	case POLICY_DEST_BELOW:
		put(&l->names[at->name], i);
		if (r->action == POLICY_DENY)
			put(&l->claimed[at->name], i);
		break;
	}
	/* No name: no deny by name is escaped. */
	if (rule_by_name(r) && r->action == POLICY_DENY)
		put(&l->none, i);
}

/* What matches a region matches those inside it. */
static void inherit(struct space *s, struct space_list *l)
{
	for (size_t i = 1; i < s->n_names; i++) {
		l->names[i] = firsts_merge(l->names[i], l->names[s->names[i].parent]);
		l->claimed[i] = firsts_merge(l->claimed[i], l->claimed[s->names[i].parent]);
	}
	for (size_t i = 1; i < s->n_addrs; i++)
		l->addrs[i] = firsts_merge(l->addrs[i], l->addrs[s->addrs[i].parent]);
}

static int spend(struct space *s, size_t n_rules)
{
	s->work += n_rules + 2 * s->n_names + s->n_addrs;
	return s->work > SPACE_WORK_MAX ? -E2BIG : 0;
}

/* Everything but its destination: could this rule match a flow of this extent? */
bool space_in_play(const struct space *s, const struct policy_rule *r, const struct extent *e)
{
	struct policy_rule rest = *r;
	struct policy_facts f = space_facts(s, e, NAME_NONE, 0, 0, NULL);
	enum rule_cond cond;

	rest.dest = POLICY_DEST_ANY;
	return policy_rule_judge(&rest, &f, &cond) == TRI_YES;
}

int space_solve(struct space *s, const struct service *v)
{
	for (size_t k = 0; k < s->n_lists; k++) {
		struct space_list *l = &s->list[k];

		if (spend(s, l->p->n_rules) < 0)
			return -E2BIG;
		clear(s, l);
		for (uint32_t i = 0; i < l->p->n_rules; i++) {
			l->active[i] = space_in_play(s, &l->p->rules[i], &v->extents[0]);
			if (l->active[i])
				enter(l, i);
		}
		inherit(s, l);
	}
	return 0;
}

/* As policy_decide_query() takes a rule: asked of it with a name that the rule is about. */
static bool speaks_of_queries(const struct space *s, const struct space_list *l, uint32_t i)
{
	struct policy one = { .rules = &l->p->rules[i], .n_rules = 1 };
	struct name n;
	uint32_t region = l->places[i].name;

	if (one.rules->dest == POLICY_DEST_DOH) {
		for (region = 0; region < s->n_names && !s->names[region].doh; region++)
			;
	} else if (region == SPACE_NONE) {
		region = 0;
	} else if (s->names[region].kind == NAME_SUFFIX) {
		region += 2; /* that very name */
	}
	return region < s->n_names && space_name_sample(s, region, &n) &&
	       policy_linear_query(&one, &n).rule == 0;
}

int space_solve_queries(struct space *s)
{
	for (size_t k = 0; k < s->n_lists; k++) {
		struct space_list *l = &s->list[k];

		if (spend(s, l->p->n_rules) < 0)
			return -E2BIG;
		clear(s, l);
		for (uint32_t i = 0; i < l->p->n_rules; i++) {
			l->active[i] = speaks_of_queries(s, l, i);
			if (!l->active[i])
				continue;
			if (l->p->rules[i].dest == POLICY_DEST_GROUP)
				put(&l->any, i); /* the gateway is who is asked */
			else
				enter(l, i);
		}
		inherit(s, l);
	}
	return 0;
}

struct firsts space_name_firsts(const struct space *s, size_t list, enum name_state st, uint32_t n)
{
	const struct space_list *l = &s->list[list];
	const struct firsts none = { (uint32_t)l->p->n_rules, (uint32_t)l->p->n_rules };
	struct firsts f;

	if (st == NAME_NONE || (st != NAME_PROVEN && l->p->strict_names))
		return l->none;
	f = st == NAME_CLAIMED ? l->claimed[n] : l->names[n];
	if (!s->names[n].doh)
		return f;
	if (st != NAME_CLAIMED)
		return firsts_merge(f, l->doh);
	/* A claim satisfies denies only. */
	for (uint32_t i = l->doh.a; i < l->p->n_rules; i++)
		if (l->active[i] && l->p->rules[i].dest == POLICY_DEST_DOH &&
		    l->p->rules[i].action == POLICY_DENY)
			return firsts_merge(f, (struct firsts){ i, none.a });
	return f;
}

struct firsts space_addr_firsts(const struct space *s, size_t list, uint32_t a)
{
	const struct space_list *l = &s->list[list];
	const struct addr_region *r = &s->addrs[a];
	struct firsts f = firsts_merge(l->addrs[a], l->any);

	f = firsts_merge(f, r->gateway ? l->host : l->group[r->group]);
	return r->doh ? firsts_merge(f, l->doh) : f;
}

/* ---- whole ---------------------------------------------------------------------- */

static int list_init_arrays(const struct space *s, struct space_list *l)
{
	l->active = calloc(l->p->n_rules + 1, sizeof(*l->active));
	l->names = calloc(s->n_names, sizeof(*l->names));
	l->claimed = calloc(s->n_names, sizeof(*l->claimed));
	l->addrs = calloc(s->n_addrs, sizeof(*l->addrs));
	return l->active && l->names && l->claimed && l->addrs ? 0 : -ENOMEM;
}

static int build(struct space *s, struct why *why)
{
	int r = 0;

	for (size_t k = 0; k < s->n_lists && r == 0; k++) {
		struct space_list *l = &s->list[k];

		l->places = calloc(l->p->n_rules + 1, sizeof(*l->places));
		if (!l->places)
			r = -ENOMEM;
		for (size_t i = 0; i < l->p->n_rules; i++)
			s->has_doh |= l->p->rules[i].dest == POLICY_DEST_DOH;
	}
	if (r == 0)
		r = space_names_build(s);
	if (r == 0)
		r = space_addrs_build(s);
	for (size_t k = 0; k < s->n_lists && r == 0; k++)
		r = list_init_arrays(s, &s->list[k]);
	if (r == 0)
		r = space_requests_build(s, why);
	if (r == 0)
		r = space_services_build(s, why);
	return r;
}

int space_new(const struct policy *a, const struct policy *b, const struct policy_gateways *gw,
	      struct space **ret, struct why *why)
{
	struct space *s = calloc(1, sizeof(*s));
	int r = s ? 0 : -ENOMEM;

	if (s) {
		s->list[0].p = a;
		s->list[1].p = b;
		s->gw = gw;
		s->n_lists = b ? 2 : 1;
		r = build(s, why);
	}
	if (r == -ENOMEM)
		why_set(why, "out of memory");
	if (r < 0)
		space_free(s);
	else
		*ret = s;
	return r;
}

void space_free(struct space *s)
{
	if (!s)
		return;
	for (size_t k = 0; k < s->n_lists; k++) {
		free(s->list[k].places);
		free(s->list[k].active);
		free(s->list[k].names);
		free(s->list[k].claimed);
		free(s->list[k].addrs);
	}
	for (size_t i = 0; i < s->n_requests; i++) {
		free(s->requests[i].method);
		free(s->requests[i].path);
	}
	for (size_t i = 0; i < s->n_services; i++)
		free(s->services[i].extents);
	free(s->requests);
	free(s->services);
	free(s->names);
	free(s->addrs);
	free(s->index);
	free(s);
}

/* ---- points ----------------------------------------------------------------------- */

struct policy_facts space_facts(const struct space *s, const struct extent *e, enum name_state st,
				uint32_t name_region, uint32_t addr_region, struct name *name)
{
	const struct space_request *q = &s->requests[e->request];
	struct policy_facts f = {
		.dir = e->dir,
		.proto = e->proto,
		.addr = s->addrs[addr_region].sample,
		.is_host = s->addrs[addr_region].gateway,
		.port = e->ports.lo,
		.name = POLICY_NONE,
		.http = q->method ? POLICY_KNOWN : POLICY_NONE,
		.method = q->method,
		.path = q->path,
	};

	if (e->ports.lo <= 443 && e->ports.hi >= 443)
		f.port = 443;
	if (st != NAME_NONE && space_name_sample(s, name_region, name)) {
		f.name = POLICY_KNOWN;
		f.names = name;
		f.n_names = 1;
		f.name_unproven = st == NAME_CLAIMED;
		f.name_answered = st == NAME_ANSWERED;
	}
	return f;
}

int space_facts_format(const struct policy_facts *f, struct buf *out)
{
	struct endpoint e = { f->addr, f->port };
	char text[ENDPOINT_STRLEN];
	int r = buf_printf(out, "%s%s ", f->dir == POLICY_INGRESS ? "ingress " : "",
			   policy_proto_name(f->proto));

	if (r == 0)
		r = buf_append_str(out,
				   f->port ? endpoint_format(&e, text) : ip_format(&f->addr, text));
	if (r == 0 && f->is_host)
		r = buf_append_str(out, " (the gateway)");
	if (r == 0 && f->name == POLICY_KNOWN)
		r = buf_printf(out, " %s %s",
			       f->name_unproven	  ? "only claimed to be"
			       : f->name_answered ? "to an address given out for"
						  : "named",
			       f->names[0].s);
	else if (r == 0 && f->dir == POLICY_EGRESS)
		r = buf_append_str(out, " without a name");
	if (r == 0 && f->http == POLICY_KNOWN)
		r = buf_printf(out, ", %s %s", f->method, f->path);
	return r;
}
