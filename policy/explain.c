/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a decision came out as it did: the evaluator's own judgement of each
 * rule, put into words. Never a second opinion: outcome and verdict come from
 * policy_rule_judge(), policy_linear_query() and the deciders.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

#define WHY_MAX sizeof(((struct policy_step *)0)->why)

/* Appends within a fixed text; what does not fit is cut. */
static void say(char *out, const char *fmt, ...) printf_like(2, 3);

static void say(char *out, const char *fmt, ...)
{
	size_t n = strlen(out);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out + n, WHY_MAX - n, fmt, ap);
	va_end(ap);
}

static void say_protos(char *out, uint8_t protos)
{
	const char *sep = "";

	for (unsigned bit = POLICY_TCP; bit <= POLICY_ICMPV6; bit <<= 1)
		if (protos & bit) {
			say(out, "%s%s", sep, policy_proto_name((enum policy_proto)bit));
			sep = ", ";
		}
}

static void say_ports(char *out, const struct policy_rule *r)
{
	for (size_t i = 0; i < r->n_ports; i++) {
		if (i == 6) {
			say(out, ", ...");
			return;
		}
		say(out, r->ports[i].lo == r->ports[i].hi ? "%s%u" : "%s%u-%u", i ? ", " : "",
		    r->ports[i].lo, r->ports[i].hi);
	}
}

/* A rule as a phrase behind "is" or "is not". */
static const char *dest_words(const struct policy_rule *r, char *out, size_t size)
{
	if (r->dest != POLICY_DEST_DOH)
		return policy_dest_format(r, out, size);
	snprintf(out, size, "a known DNS-over-HTTPS resolver");
	return out;
}

/* Why a rule by name does not match; for group doh the address does not either. */
static void why_no_name(const struct policy_rule *r, const struct policy_facts *f, char *out)
{
	char dest[NAME_MAX_LEN + 8];

	dest_words(r, dest, sizeof(dest));
	if (f->name == POLICY_NONE && (f->name_unproven || f->name_answered))
		say(out,
		    "strict_names: the connection proves no name, an allow by name needs that");
	else if (f->name == POLICY_NONE)
		say(out, "the flow has no name: an allow by name needs one");
	else if (f->name == POLICY_UNKNOWN)
		say(out, "this address was not handed out for %.100s", dest);
	else if (f->name_unproven && r->action == POLICY_ALLOW && f->n_names == 1)
		say(out, "name %.60s is only claimed: this address was not handed out for it",
		    f->names[0].s);
	else if (f->n_names == 1)
		say(out, "name %.60s is not %.60s", f->names[0].s, dest);
	else
		say(out, "none of the flow's %zu names is %.100s", f->n_names, dest);
}

static void why_no_dest(const struct policy_rule *r, const struct policy_facts *f, char *out)
{
	char dest[NAME_MAX_LEN + 8], ip[IP_STRLEN];

	if (rule_by_name(r)) {
		why_no_name(r, f, out);
		return;
	}
	policy_dest_format(r, dest, sizeof(dest));
	if (f->is_host && r->dest == POLICY_DEST_GROUP)
		say(out, "the address is the gateway: group host, not %s", dest);
	else if (f->addr.family == 0)
		say(out, "the address is not known");
	else if (r->dest == POLICY_DEST_GROUP)
		say(out, "%s is in group %s, not %s", ip_format(&f->addr, ip),
		    policy_group_name(policy_group_of(&f->addr)), dest);
	else
		say(out, "%s is not %s%s", ip_format(&f->addr, ip), strchr(dest, '/') ? "in " : "",
		    dest);
}

static void why_no_http(const struct policy_rule *r, const struct policy_facts *f, char *out)
{
	if (f->proto == POLICY_ICMPV4 || f->proto == POLICY_ICMPV6)
		say(out, "ICMP carries no HTTP request");
	else if (f->http != POLICY_KNOWN || !f->method || !f->path)
		say(out, "no HTTP request could be read: an allow with http needs one");
	else
		say(out, "request %.20s %.60s is not among the rule's %s", f->method, f->path,
		    !r->n_paths	    ? "methods"
		    : !r->n_methods ? "paths"
				    : "methods and paths");
}

static void why_no(const struct policy_rule *r, const struct policy_facts *f, enum rule_cond cond,
		   char *out)
{
	switch (cond) {
	case COND_DIR:
		say(out, "the rule is for %s", policy_dir_name(r->dirs));
		break;
	case COND_PROTO:
		say(out, "protocol %s is not ", policy_proto_name(f->proto));
		say_protos(out, r->protos);
		break;
	case COND_PORT:
		if (f->port == 0)
			say(out, "the flow has no port, the rule is for ");
		else
			say(out, "port %u is not in ", f->port);
		say_ports(out, r);
		break;
	case COND_DEST:
		why_no_dest(r, f, out);
		break;
	case COND_HTTP:
		why_no_http(r, f, out);
		break;
	case COND_NONE:
		break;
	}
}

static void why_unknown(const struct policy_rule *r, enum rule_cond cond, char *out)
{
	if (cond == COND_HTTP)
		say(out, "the request is not known yet");
	else if (r->action == POLICY_DENY)
		say(out, "the name is not known yet: a deny needs no evidence");
	else
		say(out, "the name is not known yet: this address was handed out for it");
}

static void why_yes(const struct policy_rule *r, const struct policy_facts *f, char *out)
{
	char dest[NAME_MAX_LEN + 8], ip[IP_STRLEN];

	dest_words(r, dest, sizeof(dest));
	if (r->dest == POLICY_DEST_DOH && f->addr.family && policy_rule_covers_address(r, f))
		say(out, "%s is %s", ip_format(&f->addr, ip), dest);
	else if (rule_by_name(r) && f->name == POLICY_NONE)
		say(out, "the flow has no name: that never escapes a deny by name");
	else if (rule_has_http(r) && f->http != POLICY_KNOWN)
		say(out, "no HTTP request could be read: that never escapes a deny with http");
	else if (r->dest == POLICY_DEST_ANY)
		say(out, "any destination");
	else
		say(out, "destination is %.120s", dest);
}

static struct policy_step step_of(const struct policy *p, size_t i)
{
	return (struct policy_step){ .rule = (int)i,
				     .rule_id = p->rules[i].id,
				     .action = p->rules[i].action };
}

static struct policy_step explain_rule(const struct policy *p, size_t i, const struct policy_facts *f)
{
	const struct policy_rule *r = &p->rules[i];
	struct policy_step s = step_of(p, i);
	enum rule_cond cond;

	switch (policy_rule_judge(r, f, &cond)) {
	case TRI_NO:
		s.outcome = "no match";
		why_no(r, f, cond, s.why);
		break;
	case TRI_UNKNOWN:
		s.outcome = "unknown";
		why_unknown(r, cond, s.why);
		break;
	case TRI_YES:
		s.outcome = "match";
		why_yes(r, f, s.why);
		break;
	}
	return s;
}

/* Of a long list nobody wants to read of rules about something else. */
static bool is_short(const struct policy *p)
{
	return p->n_rules <= POLICY_EXPLAIN_ALL;
}

/* Where the next step goes: the last place is kept for the rule that decides. */
static struct policy_step *place(struct policy_step *steps, size_t max, size_t *n)
{
	if (*n < max)
		(*n)++;
	return &steps[*n - 1];
}

/*
 * One list's rules up to the one that decided; of a long list only those whose
 * destination is the flow's. Returns how many were written.
 */
static size_t explain_list(const struct policy *p, const struct policy_facts *f,
			   struct policy_step *steps, size_t max)
{
	struct policy_facts seen = *f;
	bool done = max == 0;
	size_t n = 0;

	if (policy_is_nameless(p, f))
		seen.name = POLICY_NONE;
	for (size_t i = 0; i < p->n_rules && !done; i++) {
		enum rule_cond cond;

		if (!is_short(p) && policy_rule_judge_dest(&p->rules[i], &seen) == TRI_NO)
			continue;
		done = policy_rule_judge(&p->rules[i], &seen, &cond) == TRI_YES;
		if (done || n < max)
			*place(steps, max, &n) = explain_rule(p, i, &seen);
	}
	return n;
}

/* Own steps leave room for those of the floor, half of it at most. */
static size_t own_share(const struct policy *p, size_t max)
{
	return p->floor ? max - MIN(max / 2, p->floor->n_rules) : max;
}

static void mark_floor(struct policy_step *steps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		steps[i].floor = true;
}

struct policy_verdict policy_explain(const struct policy *p, const struct policy_facts *f,
				     struct policy_step *steps, size_t max, size_t *ret_n)
{
	size_t own = explain_list(p, f, steps, own_share(p, max)), floor = 0;

	if (p->floor)
		floor = explain_list(p->floor, f, steps + own, max - own);
	mark_floor(steps + own, floor);
	*ret_n = own + floor;
	return policy_decide(p, f);
}

/* ---- queries ---------------------------------------------------------------- */

static void why_query_no(const struct policy_rule *r, const struct name *n, char *out)
{
	char dest[NAME_MAX_LEN + 8];

	dest_words(r, dest, sizeof(dest));
	if (!(r->dirs & POLICY_EGRESS))
		say(out, "the rule is for ingress, a query is egress");
	else if (rule_by_name(r) && r->action == POLICY_DENY &&
		 (r->n_ports || r->protos || rule_has_http(r)))
		say(out, "the deny is limited to %s: the name itself may be asked",
		    rule_has_http(r) ? "requests"
		    : r->n_ports     ? "ports"
				     : "protocols");
	else if (rule_by_name(r))
		say(out, "name %.60s is not %.60s", n->s, dest);
	else if (r->dest == POLICY_DEST_ANY ||
		 (r->dest == POLICY_DEST_GROUP && r->group == POLICY_GROUP_HOST))
		say(out, "the rule does not cover queries: port 53 of the gateway, udp");
	else
		say(out, "a rule by address says nothing of a query");
}

static void why_query_yes(const struct policy_rule *r, const struct name *n, char *out)
{
	char dest[NAME_MAX_LEN + 8];

	if (r->dest == POLICY_DEST_ANY)
		say(out, "any destination: every query");
	else if (!rule_by_name(r))
		say(out, "the gateway's resolver: every query");
	else
		say(out, "name %.60s is %.60s", n->s, dest_words(r, dest, sizeof(dest)));
}

/* For a long list: about this name, or about queries of all names. */
static bool speaks_of_query(const struct policy_rule *r, const struct name *n)
{
	struct policy_facts f = { .name = POLICY_KNOWN, .names = n, .n_names = 1 };

	if (!rule_by_name(r))
		return policy_rule_covers_query(r);
	return policy_rule_judge_dest(r, &f) != TRI_NO;
}

static size_t explain_query_list(const struct policy *p, const struct name *name,
				 struct policy_step *steps, size_t max)
{
	bool done = max == 0;
	size_t n = 0;

	for (size_t i = 0; i < p->n_rules && !done; i++) {
		const struct policy_rule *r = &p->rules[i];
		const struct policy one = { .rules = &p->rules[i], .n_rules = 1 };
		struct policy_step *s;

		if (!is_short(p) && !speaks_of_query(r, name))
			continue;
		done = policy_linear_query(&one, name).rule == 0;
		if (!done && n == max)
			continue;
		s = place(steps, max, &n);
		*s = step_of(p, i);
		s->outcome = done ? "match" : "no match";
		(done ? why_query_yes : why_query_no)(r, name, s->why);
	}
	return n;
}

struct policy_verdict policy_explain_query(const struct policy *p, const struct name *n,
					   struct policy_step *steps, size_t max, size_t *ret_n)
{
	size_t own = explain_query_list(p, n, steps, own_share(p, max)), floor = 0;

	if (p->floor)
		floor = explain_query_list(p->floor, n, steps + own, max - own);
	mark_floor(steps + own, floor);
	*ret_n = own + floor;
	return policy_decide_query(p, n);
}

struct ip_addr policy_public_sample(const struct policy *p)
{
	struct ip_addr best = { 0 };
	size_t best_hits = SIZE_MAX;

	/* Spread over the address space, so that no one network holds them all. */
	for (unsigned i = 0; i < 64 && best_hits; i++) {
		struct ip_addr a = ip4((uint8_t)(93 + 67 * i), (uint8_t)(184 + 29 * i),
				       (uint8_t)(215 + 101 * i), (uint8_t)(14 + 3 * i));
		size_t hits;

		if (policy_group_of(&a) != POLICY_GROUP_PUBLIC)
			continue;
		hits = policy_match_prefixes(p, &a);
		if (hits < best_hits) {
			best_hits = hits;
			best = a;
		}
	}
	return best;
}
