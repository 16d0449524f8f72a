/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a list of rules means: a walk over it that keeps the set of answers that
 * are still possible. A rule that matches for sure ends the walk; one that rests
 * on a fact not known yet adds its action to the set and the walk goes on. One
 * answer left: that is it, whatever the fact will be. Two left: ask for the fact.
 *
 * This is the definition that everything faster is tested against.
 *
 * The guest chooses names, methods and paths. A fact that is missing for good
 * never satisfies an allow and never escapes a deny. Reads only; no allocation.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

#include <strings.h>

/* ---- one rule ---------------------------------------------------------------- */

static bool covers_port(const struct policy_rule *r, uint16_t port)
{
	if (r->n_ports == 0)
		return true;
	for (size_t i = 0; i < r->n_ports; i++)
		if (port >= r->ports[i].lo && port <= r->ports[i].hi)
			return true;
	return false;
}

/*
 * The address or what is inside it. With two addresses inside, an allow must
 * hold for both and a deny for either.
 */
static bool prefix_match(const struct policy_rule *r, const struct ip_addr *a)
{
	struct ip_addr in[2];
	size_t n, hits = 0;

	if (ip_in_prefix(a, &r->prefix))
		return true;
	if (a->family != 6 || r->prefix.addr.family != 4)
		return false;
	n = policy_embedded_all(a, in);
	for (size_t i = 0; i < n; i++)
		hits += ip_in_prefix(&in[i], &r->prefix);
	return r->action == POLICY_ALLOW ? n && hits == n : hits > 0;
}

static bool name_match(const struct policy_rule *r, const struct name *n)
{
	if (r->dest == POLICY_DEST_DOH)
		return policy_doh_name(n);
	return policy_rule_names(r, n);
}

static bool any_name_match(const struct policy_rule *r, const struct policy_facts *f)
{
	for (size_t i = 0; i < f->n_names; i++)
		if (name_match(r, &f->names[i]))
			return true;
	return false;
}

static enum tri judge_name(const struct policy_rule *r, const struct policy_facts *f)
{
	switch (f->name) {
	case POLICY_KNOWN:
		if (f->name_unproven && r->action == POLICY_ALLOW)
			return TRI_NO;
		return any_name_match(r, f) ? TRI_YES : TRI_NO;
	case POLICY_UNKNOWN:
		/* An allow needs evidence, a deny needs none. */
		if (r->action == POLICY_ALLOW && !any_name_match(r, f))
			return TRI_NO;
		return TRI_UNKNOWN;
	case POLICY_NONE:
		break;
	}
	return r->action == POLICY_DENY ? TRI_YES : TRI_NO;
}

bool policy_rule_covers_address(const struct policy_rule *r, const struct policy_facts *f)
{
	if (r->dest == POLICY_DEST_GROUP && (f->is_host || r->group == POLICY_GROUP_HOST))
		return f->is_host && r->group == POLICY_GROUP_HOST;
	if (f->addr.family == 0)
		return r->action == POLICY_DENY;
	if (r->dest == POLICY_DEST_DOH)
		return policy_doh_address(&f->addr, r->action);
	if (r->dest == POLICY_DEST_GROUP)
		return policy_group_of(&f->addr) == r->group;
	return prefix_match(r, &f->addr);
}

static bool request_match(const struct policy_rule *r, const struct policy_facts *f)
{
	bool hit = r->n_methods == 0;

	/* A server may take "post" for POST: a deny must catch both spellings. */
	for (size_t i = 0; i < r->n_methods && !hit; i++)
		hit = r->action == POLICY_DENY ? strcasecmp(r->methods[i], f->method) == 0
					       : str_eq(r->methods[i], f->method);
	if (!hit)
		return false;
	if (r->n_paths == 0)
		return true;
	for (size_t i = 0; i < r->n_paths; i++)
		if (policy_path_match(r->paths[i], f->path))
			return true;
	return false;
}

enum tri policy_rule_judge_http(const struct policy_rule *r, const struct policy_facts *f)
{
	if (f->http == POLICY_UNKNOWN)
		return TRI_UNKNOWN;
	if (f->http == POLICY_KNOWN && f->method && f->path)
		return request_match(r, f) ? TRI_YES : TRI_NO;
	return r->action == POLICY_DENY ? TRI_YES : TRI_NO;
}

enum tri policy_rule_judge_dest(const struct policy_rule *r, const struct policy_facts *f)
{
	if (r->dest == POLICY_DEST_ANY)
		return TRI_YES;
	/* Group doh is a set of addresses and of names: either will do. */
	if (r->dest == POLICY_DEST_DOH && policy_rule_covers_address(r, f))
		return TRI_YES;
	if (rule_by_name(r))
		return judge_name(r, f);
	return policy_rule_covers_address(r, f) ? TRI_YES : TRI_NO;
}

enum tri policy_rule_judge(const struct policy_rule *r, const struct policy_facts *f,
			   enum rule_cond *ret_cond)
{
	bool icmp = f->proto == POLICY_ICMPV4 || f->proto == POLICY_ICMPV6;
	enum tri dest, http = TRI_YES;

	*ret_cond = COND_DIR;
	if (!(r->dirs & f->dir))
		return TRI_NO;
	*ret_cond = COND_PROTO;
	if (r->protos && !(r->protos & f->proto))
		return TRI_NO;
	*ret_cond = COND_PORT;
	if (r->n_ports && (icmp || !covers_port(r, f->port)))
		return TRI_NO;
	*ret_cond = COND_HTTP;
	if (rule_has_http(r)) {
		if (icmp)
			return TRI_NO;
		http = policy_rule_judge_http(r, f);
	}
	dest = policy_rule_judge_dest(r, f);
	if (dest == TRI_NO) {
		*ret_cond = COND_DEST;
		return TRI_NO;
	}
	if (http == TRI_NO)
		return TRI_NO;
	*ret_cond = dest == TRI_UNKNOWN ? COND_DEST : http == TRI_UNKNOWN ? COND_HTTP : COND_NONE;
	return dest == TRI_UNKNOWN || http == TRI_UNKNOWN ? TRI_UNKNOWN : TRI_YES;
}

/* ---- the list ---------------------------------------------------------------- */

struct policy_verdict policy_verdict_of(const struct policy *p, enum policy_answer answer, size_t rule)
{
	struct policy_verdict v = { .answer = answer, .rule = -1 };

	if (rule < p->n_rules) {
		v.rule = (int)rule;
		v.rule_id = p->rules[rule].id;
		v.reason = p->rules[rule].reason;
	}
	return v;
}

struct policy_verdict policy_linear_decide(const struct policy *p, const struct policy_facts *f)
{
	enum policy_action last = f->dir == POLICY_INGRESS ? p->ingress : p->egress;
	bool possible[2] = { false, false };
	size_t first_name = SIZE_MAX, first_http = SIZE_MAX, i;

	for (i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];
		enum rule_cond cond;
		enum tri t = policy_rule_judge(r, f, &cond);

		if (t == TRI_NO)
			continue;
		if (t == TRI_YES) {
			last = r->action;
			break;
		}
		possible[r->action] = true;
		if (cond == COND_DEST)
			first_name = MIN(first_name, i);
		else
			first_http = MIN(first_http, i);
	}
	if (!possible[last == POLICY_ALLOW ? POLICY_DENY : POLICY_ALLOW])
		return policy_verdict_of(p, policy_answer_of(last), i);
	if (first_name != SIZE_MAX)
		return policy_verdict_of(p, POLICY_ANSWER_NEED_NAME, first_name);
	return policy_verdict_of(p, POLICY_ANSWER_NEED_HTTP, first_http);
}

/* ---- names asked of the resolver ------------------------------------------------ */

/*
 * Whether "any" or "host" covers a query. A query may come over either protocol
 * and is judged once: an allow for one of them will do, a deny must name UDP.
 */
static bool covers_dns(const struct policy_rule *r)
{
	uint8_t need = r->action == POLICY_ALLOW ? POLICY_UDP | POLICY_TCP : POLICY_UDP;

	if (rule_has_http(r) || !covers_port(r, 53))
		return false;
	return !r->protos || (r->protos & need);
}

bool policy_rule_covers_query(const struct policy_rule *r)
{
	if (!(r->dirs & POLICY_EGRESS))
		return false;
	if (rule_by_name(r))
		return r->action == POLICY_ALLOW || !(r->n_ports || r->protos || rule_has_http(r));
	if (r->dest == POLICY_DEST_ANY ||
	    (r->dest == POLICY_DEST_GROUP && r->group == POLICY_GROUP_HOST))
		return covers_dns(r);
	return false;
}

static bool query_match(const struct policy_rule *r, const struct name *n)
{
	return policy_rule_covers_query(r) && (!rule_by_name(r) || name_match(r, n));
}

struct policy_verdict policy_linear_query(const struct policy *p, const struct name *n)
{
	for (size_t i = 0; i < p->n_rules; i++)
		if (query_match(&p->rules[i], n))
			return policy_verdict_of(p, policy_answer_of(p->rules[i].action), i);
	return policy_verdict_of(p, policy_answer_of(p->egress), p->n_rules);
}

struct policy_verdict policy_linear_alias(const struct policy *p, const struct name *asked,
					  const struct name *alias)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];

		if (query_match(r, asked) || (rule_by_name(r) && query_match(r, alias)))
			return policy_verdict_of(p, policy_answer_of(r->action), i);
	}
	return policy_verdict_of(p, policy_answer_of(p->egress), p->n_rules);
}
