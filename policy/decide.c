/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions: the policy's own word and that of the operator's floor below it.
 * What passes must pass both, so of two answers the less permissive stands.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

/* Types of service records (RFC 2782, RFC 9460). */
enum { TYPE_SRV = 33, TYPE_HTTPS = 65 };

/* In order of what the flow may still become: nothing, ..., anything. */
static unsigned freedom(enum policy_answer a)
{
	static const unsigned order[] = {
		[POLICY_ANSWER_DENY] = 0,
		[POLICY_ANSWER_NEED_NAME] = 1,
		[POLICY_ANSWER_NEED_HTTP] = 2,
		[POLICY_ANSWER_ALLOW] = 3,
	};

	return order[a];
}

static struct policy_verdict both(struct policy_verdict own, struct policy_verdict floor)
{
	if (freedom(own.answer) <= freedom(floor.answer))
		return own;
	floor.floor = true;
	return floor;
}

static struct policy_verdict decide(const struct policy *p, const struct policy_facts *f)
{
	struct policy_facts nameless;

	if (!policy_is_nameless(p, f))
		return policy_match_decide(p, f);
	nameless = *f;
	nameless.name = POLICY_NONE;
	nameless.names = NULL;
	nameless.n_names = 0;
	return policy_match_decide(p, &nameless);
}

struct policy_verdict policy_decide(const struct policy *p, const struct policy_facts *f)
{
	struct policy_verdict v = decide(p, f);

	return p->floor ? both(v, decide(p->floor, f)) : v;
}

struct policy_verdict policy_decide_own(const struct policy *p, const struct policy_facts *f)
{
	return decide(p, f);
}

struct policy_verdict policy_decide_query(const struct policy *p, const struct name *n)
{
	struct policy_verdict v = policy_match_query(p, n);

	return p->floor ? both(v, policy_match_query(p->floor, n)) : v;
}

/* The next label of a name, moving past its dot; NULL: there is no other behind it. */
static const char *take_label(const char **at, size_t *ret_len)
{
	const char *label = *at, *dot = strchr(label, '.');

	if (!dot)
		return NULL;
	*ret_len = (size_t)(dot - label);
	*at = dot + 1;
	return label;
}

static bool label_is(const char *label, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(label, word, len) == 0;
}

/* RFC 6335 5.1 has services of up to fifteen letters, digits and hyphens. */
static bool is_service(const char *label, size_t len)
{
	return len >= 2 && len <= 16 && label[0] == '_' && !memchr(label + 1, '_', len - 1);
}

/*
 * Where the host begins in a service's name; NULL: it is none. Two labels of little room
 * each, because what stands in them leaves the machine under a rule for the host alone.
 */
static const char *service_host(const char *s, uint16_t type)
{
	const char *first, *second;
	size_t n_first, n_second;
	uint16_t port;

	first = take_label(&s, &n_first);
	second = first ? take_label(&s, &n_second) : NULL;
	if (!second || first[0] != '_' || s[0] == '_')
		return NULL;
	if (type == TYPE_HTTPS)
		return label_is(second, n_second, "_https") &&
				       port_parse(first + 1, n_first - 1, &port, NULL) == 0
			       ? s
			       : NULL;
	if (type == TYPE_SRV && is_service(first, n_first) &&
	    (label_is(second, n_second, "_tcp") || label_is(second, n_second, "_udp") ||
	     label_is(second, n_second, "_tls")))
		return s;
	return NULL;
}

static bool denied_by_rule(const struct policy *p, const struct name *n)
{
	struct policy_verdict v = policy_match_query(p, n);

	return v.answer == POLICY_ANSWER_DENY && v.rule >= 0;
}

bool policy_query_subject(const struct policy *p, const struct name *n, uint16_t type,
			  struct name *ret)
{
	const char *host = service_host(n->s, type);
	struct name h;

	*ret = *n;
	if (!host || policy_decide_query(p, n).answer != POLICY_ANSWER_DENY ||
	    denied_by_rule(p, n) || (p->floor && denied_by_rule(p->floor, n)) ||
	    name_parse(host, strlen(host), &h, NULL) < 0)
		return false;
	*ret = h;
	return true;
}

bool policy_query_exact(const struct policy *p, const struct name *n)
{
	struct policy_verdict v = policy_match_query(p, n);

	return v.rule >= 0 && p->rules[v.rule].dest == POLICY_DEST_NAME;
}

bool policy_query_type(const struct policy *p, const struct name *n, enum policy_qtype type)
{
	struct policy_verdict v = policy_decide_query(p, n);

	return v.answer == POLICY_ANSWER_ALLOW && v.rule >= 0 && (p->rules[v.rule].qtypes & type);
}

struct policy_verdict policy_decide_alias(const struct policy *p, const struct name *asked,
					  const struct name *alias)
{
	struct policy_verdict v = policy_match_alias(p, asked, alias);

	return p->floor ? both(v, policy_match_alias(p->floor, asked, alias)) : v;
}
