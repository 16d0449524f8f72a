/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions from the index: the same answers as the walks of linear.c.
 *
 * Such a walk ends at the least rule that matches for sure. Of the rules before
 * it that may match, only the least of each kind counts: is there one with the
 * other action, and which fact does the first of them wait for. That is five
 * minima, and each destination that speaks of the flow is asked for its own.
 *
 * A destination is visited with what is known of the match: for sure, or as far
 * as the name goes; and for which actions, since a fact that is missing never
 * satisfies an allow and never escapes a deny. Reads only; no allocation.
 */
#include "base/base.h"
#include "policy/index.h"

#define ONLY(action) (1u << (action))
#define BOTH (ONLY(POLICY_DENY) | ONLY(POLICY_ALLOW))

/* What a rule that may match waits for. */
enum wait { WAIT_NAME = 0, WAIT_HTTP = 1 };

struct visit {
	const struct policy *p;
	const struct bucket_store *store;
	unsigned doh; /* actions for which rules on group doh still count: ONLY() bits */
	const struct policy_facts *f;
	enum policy_fact http;
	uint16_t port;
	uint8_t slot;
	/* The minima. */
	uint32_t sure;
	enum policy_action sure_action;
	uint32_t maybe[2][2]; /* by action and enum wait */
};

static void least(uint32_t *min, uint32_t rule)
{
	if (rule < *min)
		*min = rule;
}

/* ---- one destination ---------------------------------------------------------------- */

/* What the request makes of a rule with HTTP conditions. */
static enum tri judge_request(const struct visit *v, uint32_t rule, enum policy_action action)
{
	if (v->http == POLICY_UNKNOWN)
		return TRI_UNKNOWN;
	if (v->http == POLICY_NONE)
		return action == POLICY_DENY ? TRI_YES : TRI_NO;
	return policy_rule_judge_http(&v->p->rules[rule], v->f);
}

/* A rule whose direction, protocol and port fit. */
static void note(struct visit *v, uint32_t rule, enum policy_action action, enum tri dest,
		 enum tri http)
{
	if (rule >= v->sure || http == TRI_NO)
		return;
	if (dest == TRI_UNKNOWN) {
		least(&v->maybe[action][WAIT_NAME], rule);
	} else if (http == TRI_UNKNOWN) {
		least(&v->maybe[action][WAIT_HTTP], rule);
	} else {
		v->sure = rule;
		v->sure_action = action;
	}
}

static enum policy_action entry_action(const struct entry *e)
{
	return e->flags & ENTRY_ALLOW ? POLICY_ALLOW : POLICY_DENY;
}

static bool entry_fits(const struct visit *v, const struct entry *e, unsigned actions)
{
	return (e->slots >> v->slot & 1) && v->port >= e->lo && v->port <= e->hi &&
	       (actions & ONLY(entry_action(e)));
}

static void visit_entry(struct visit *v, const struct entry *e, unsigned actions, enum tri dest)
{
	enum policy_action a = entry_action(e);

	if (entry_fits(v, e, actions))
		note(v, e->rule, a, dest,
		     e->flags & ENTRY_HTTP ? judge_request(v, e->rule, a) : TRI_YES);
}

static void visit_map(struct visit *v, uint32_t map, unsigned actions, enum tri dest)
{
	const struct port_map *m = store_map(v->store, map);
	const struct entry *e;

	for (unsigned a = 0; a < 2; a++) {
		if (!(actions & ONLY(a)))
			continue;
		note(v, store_least(v->store, m->least[v->slot][a][0], v->port),
		     (enum policy_action)a, dest, TRI_YES);
		if (v->http == POLICY_KNOWN || m->n_http == 0)
			continue;
		note(v, store_least(v->store, m->least[v->slot][a][1], v->port),
		     (enum policy_action)a, dest, judge_request(v, NONE, (enum policy_action)a));
	}
	if (v->http != POLICY_KNOWN || m->n_http == 0)
		return;
	e = (const struct entry *)v->store->http.p + m->http_at;
	for (uint32_t i = 0; i < m->n_http && e[i].rule < v->sure; i++)
		visit_entry(v, &e[i], actions, dest);
}

/* position: ENTRY_APEX or ENTRY_BELOW; any of them for what is not by name. */
static void visit_bucket(struct visit *v, const struct bucket *b, uint8_t position,
			 unsigned actions, enum tri dest)
{
	if (b->more != NONE) {
		visit_map(v, b->more + (position == ENTRY_BELOW), actions, dest);
		return;
	}
	for (const struct entry *e = &b->first; e && e->rule < v->sure; e = store_next(v->store, e))
		if (e->flags & position)
			visit_entry(v, e, actions, dest);
}

/* ---- destinations ---------------------------------------------------------------------- */

static void visit_groups(struct visit *v, const struct policy_index *x)
{
	enum policy_group g = POLICY_GROUP_HOST;

	if (!x->has_groups)
		return;
	if (!v->f->is_host) {
		if (v->f->addr.family == 0) {
			visit_map(v, x->deny_groups, ONLY(POLICY_DENY), TRI_YES);
			return;
		}
		g = policy_group_of(&v->f->addr);
	}
	visit_bucket(v, &x->groups[g], ENTRY_APEX, BOTH, TRI_YES);
}

/* Group doh: by the address, or else as a rule by name. What is sure is asked first. */
static void visit_doh(struct visit *v, unsigned actions, enum tri dest)
{
	actions &= v->doh;
	if (actions == 0)
		return;
	visit_bucket(v, &v->p->index->doh, ENTRY_APEX, actions, dest);
	if (dest == TRI_YES)
		v->doh &= ~actions;
}

static unsigned doh_actions(unsigned actions, const struct ip_addr *also)
{
	return also && !policy_doh_address(also, POLICY_ALLOW) ? actions & ~ONLY(POLICY_ALLOW)
							       : actions;
}

/* Every prefix around a; for allows only those around `also`, when there is one. */
static void visit_prefixes(struct visit *v, const struct address_index *x, const struct ip_addr *a,
			   unsigned actions, const struct ip_addr *also)
{
	for (uint32_t i = address_index_find(x, a); i != NONE;) {
		const struct prefix_node *n = address_node(x, i);
		unsigned acts = actions;

		if (n->least >= v->sure)
			return;
		if (also && !ip_in_prefix(also, &(struct ip_prefix){ *a, n->len }))
			acts &= ~ONLY(POLICY_ALLOW);
		visit_bucket(v, &n->rules, ENTRY_APEX, acts, TRI_YES);
		if (n->doh)
			visit_doh(v, doh_actions(actions, also), TRI_YES);
		i = n->around;
	}
}

/* The address, and by IPv4 rules what is inside: an allow must hold for all of it. */
static void visit_address(struct visit *v, const struct policy_index *x)
{
	const struct ip_addr *a = &v->f->addr;
	struct ip_addr in[2];
	size_t n;

	if (a->family == 0) {
		visit_map(v, x->deny_prefixes, ONLY(POLICY_DENY), TRI_YES);
		visit_doh(v, ONLY(POLICY_DENY), TRI_YES);
		return;
	}
	if (a->family == 4) {
		visit_prefixes(v, &x->v4, a, BOTH, NULL);
		return;
	}
	visit_prefixes(v, &x->v6, a, BOTH, NULL);
	if (x->v4.nodes.n == 0)
		return;
	n = policy_embedded_all(a, in);
	if (n > 0)
		visit_prefixes(v, &x->v4, &in[0], BOTH, n > 1 ? &in[1] : NULL);
	if (n > 1)
		visit_prefixes(v, &x->v4, &in[1], ONLY(POLICY_DENY), NULL);
}

static void visit_name(struct visit *v, const struct policy_index *x, const struct name *name,
		       unsigned actions, enum tri dest)
{
	const struct name_node *n;
	struct name_walk w;

	name_walk_init(&w, &x->names, name);
	while ((n = name_walk_next(&w, &x->names))) {
		uint8_t position = w.apex ? ENTRY_APEX : ENTRY_BELOW;

		visit_bucket(v, &n->rules, position, actions, dest);
		if (n->doh & position)
			visit_doh(v, actions, dest);
	}
}

static void visit_names(struct visit *v, const struct policy_index *x)
{
	const struct policy_facts *f = v->f;
	bool known = f->name == POLICY_KNOWN;
	unsigned actions = !known	      ? ONLY(POLICY_ALLOW)
			   : f->name_unproven ? ONLY(POLICY_DENY)
					      : BOTH;

	if (!x->has_names)
		return;
	if (!known) {
		enum tri dest = f->name == POLICY_NONE ? TRI_YES : TRI_UNKNOWN;

		visit_map(v, x->deny_names, ONLY(POLICY_DENY), dest);
		visit_doh(v, ONLY(POLICY_DENY), dest);
	}
	if (f->name == POLICY_NONE)
		return;
	for (size_t i = 0; i < f->n_names; i++)
		visit_name(v, x, &f->names[i], actions, known ? TRI_YES : TRI_UNKNOWN);
}

/* ---- decisions --------------------------------------------------------------------------- */

/* False: a direction or protocol that is none; the list has its own view of that. */
static bool visit_init(struct visit *v, const struct policy *p, const struct policy_facts *f)
{
	unsigned proto = f->proto;

	if ((f->dir != POLICY_EGRESS && f->dir != POLICY_INGRESS) || proto == 0 ||
	    (proto & (proto - 1)) || proto >> SLOT_PROTOS)
		return false;
	*v = (struct visit){
		.p = p,
		.store = &p->index->store,
		.doh = p->index->doh.first.rule == NONE ? 0 : BOTH,
		.f = f,
		.http = f->http == POLICY_KNOWN && (!f->method || !f->path) ? POLICY_NONE : f->http,
		.port = f->port,
		.slot = (uint8_t)((f->dir == POLICY_INGRESS ? SLOT_PROTOS : 0) + __builtin_ctz(proto)),
		.sure = NONE,
		.maybe = { { NONE, NONE }, { NONE, NONE } },
	};
	return true;
}

static void visit_all(struct visit *v)
{
	const struct policy_index *x = v->p->index;

	visit_bucket(v, &x->any, ENTRY_APEX, BOTH, TRI_YES);
	visit_groups(v, x);
	visit_address(v, x);
	visit_names(v, x);
}

/* Most rules have no texts: then the rule need not be touched. */
static struct policy_verdict verdict(const struct policy *p, enum policy_answer answer, uint32_t rule)
{
	if (rule == NONE || (p->index->texts[rule / 64] >> (rule % 64) & 1))
		return policy_verdict_of(p, answer, rule);
	return (struct policy_verdict){ .answer = answer, .rule = (int)rule };
}

struct policy_verdict policy_match_decide(const struct policy *p, const struct policy_facts *f)
{
	enum policy_action last = f->dir == POLICY_INGRESS ? p->ingress : p->egress;
	const uint32_t *other;
	uint32_t name, http;
	struct visit v;

	if (!p->index || !visit_init(&v, p, f))
		return policy_linear_decide(p, f);
	visit_all(&v);
	if (v.sure != NONE)
		last = v.sure_action;
	other = v.maybe[last == POLICY_ALLOW ? POLICY_DENY : POLICY_ALLOW];
	/* Only what stands before the rule that is sure counts. */
	if (MIN(other[WAIT_NAME], other[WAIT_HTTP]) >= v.sure)
		return verdict(p, policy_answer_of(last), v.sure);
	name = MIN(v.maybe[0][WAIT_NAME], v.maybe[1][WAIT_NAME]);
	http = MIN(v.maybe[0][WAIT_HTTP], v.maybe[1][WAIT_HTTP]);
	if (name < v.sure)
		return verdict(p, POLICY_ANSWER_NEED_NAME, name);
	return verdict(p, POLICY_ANSWER_NEED_HTTP, http);
}

/* ---- names asked of the resolver ------------------------------------------------------------ */

static void query_bucket(const struct bucket_store *s, const struct bucket *b, uint8_t position,
			 uint32_t *min)
{
	if (b->more != NONE) {
		least(min, store_map(s, b->more + (position == ENTRY_BELOW))->query);
		return;
	}
	for (const struct entry *e = &b->first; e; e = store_next(s, e))
		if ((e->flags & ENTRY_QUERY) && (e->flags & position)) {
			least(min, e->rule);
			return;
		}
}

/* The least rule by name for a query. */
static void query_name(const struct policy_index *x, const struct name *name, uint32_t *min)
{
	const struct name_node *n;
	struct name_walk w;

	if (!x->has_names)
		return;
	name_walk_init(&w, &x->names, name);
	while ((n = name_walk_next(&w, &x->names))) {
		uint8_t position = w.apex ? ENTRY_APEX : ENTRY_BELOW;

		query_bucket(&x->store, &n->rules, position, min);
		if (n->doh & position)
			query_bucket(&x->store, &x->doh, ENTRY_APEX, min);
	}
}

static struct policy_verdict query_verdict(const struct policy *p, uint32_t rule)
{
	return verdict(p, policy_answer_of(rule == NONE ? p->egress : p->rules[rule].action), rule);
}

struct policy_verdict policy_match_query(const struct policy *p, const struct name *n)
{
	uint32_t min;

	if (!p->index)
		return policy_linear_query(p, n);
	min = p->index->query;
	query_name(p->index, n, &min);
	return query_verdict(p, min);
}

struct policy_verdict policy_match_alias(const struct policy *p, const struct name *asked,
					 const struct name *alias)
{
	uint32_t min;

	if (!p->index)
		return policy_linear_alias(p, asked, alias);
	min = p->index->query;
	query_name(p->index, asked, &min);
	query_name(p->index, alias, &min);
	return query_verdict(p, min);
}

/* ---- addresses in answers ----------------------------------------------------------------- */

/*
 * Is the first rule that speaks of this address an allow, at this port? As a
 * flow without a name, whose request is not known: a deny that waits for the
 * request says nothing of the address, an allow that does will do.
 */
static bool opens(const struct policy *p, const struct policy_facts *f)
{
	struct visit v;

	if (!visit_init(&v, p, f))
		return false;
	v.doh = 0;
	visit_bucket(&v, &p->index->any, ENTRY_APEX, BOTH, TRI_YES);
	visit_groups(&v, p->index);
	visit_address(&v, p->index);
	if (v.maybe[POLICY_ALLOW][WAIT_HTTP] < v.sure)
		return true;
	return (v.sure == NONE ? p->egress : v.sure_action) == POLICY_ALLOW;
}

bool policy_match_answer(const struct policy *p, const struct ip_addr *a)
{
	static const enum policy_proto protos[] = { POLICY_ICMPV4, POLICY_ICMPV6, POLICY_TCP,
						    POLICY_UDP };
	struct policy_facts f = { .dir = POLICY_EGRESS, .addr = *a, .http = POLICY_UNKNOWN };
	const uint16_t *ports;

	if (!p->index)
		return policy_linear_answer(p, a);
	ports = p->index->ports.p;
	for (size_t i = 0; i < ARRAY_SIZE(protos); i++) {
		bool icmp = i < 2;

		f.proto = protos[i];
		for (size_t k = 0; k < (icmp ? 1 : p->index->ports.n); k++) {
			f.port = icmp ? 0 : ports[k];
			if (opens(p, &f))
				return true;
		}
	}
	return false;
}

/* ---- for explanations ---------------------------------------------------------------------- */

size_t policy_match_prefixes(const struct policy *p, const struct ip_addr *a)
{
	const struct address_index *x;
	size_t n = 0;

	/* Without an index any public address stands for some. */
	if (!p->index)
		return 0;
	x = a->family == 4 ? &p->index->v4 : &p->index->v6;
	for (uint32_t i = address_index_find(x, a); i != NONE; i = address_node(x, i)->around)
		n++;
	return n;
}
