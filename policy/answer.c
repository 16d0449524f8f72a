/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rebinding filter. A name server that belongs to an attacker may answer a
 * public name with an internal address; such an answer is only handed out when
 * the policy opens that address itself, to a flow without a name.
 *
 * This is the definition, by a walk over the list; match.c answers the same.
 * Asked is "is there a protocol and port for which the first rule that speaks
 * of this address allows": a walk with the set of ports not yet denied.
 * Denies by name or with HTTP conditions take nothing from that set (they say
 * nothing of the address), allows by name add nothing.
 */
#include "base/base.h"
#include "policy/policy_internal.h"

#define WORDS (65536 / 64)

/* A bit per service port, for TCP and UDP; ICMP as two flags. */
struct open_set {
	uint64_t ports[2][WORDS]; /* set: denied */
	uint8_t icmp_denied;
};

static bool range_any_open(const uint64_t *denied, struct port_range r)
{
	for (uint32_t p = r.lo; p <= r.hi;) {
		if (p % 64 == 0 && p + 63 <= r.hi) {
			if (~denied[p / 64])
				return true;
			p += 64;
			continue;
		}
		if (!(denied[p / 64] >> (p % 64) & 1))
			return true;
		p++;
	}
	return false;
}

static void range_deny(uint64_t *denied, struct port_range r)
{
	for (uint32_t p = r.lo; p <= r.hi;) {
		if (p % 64 == 0 && p + 63 <= r.hi) {
			denied[p / 64] = ~UINT64_C(0);
			p += 64;
			continue;
		}
		denied[p / 64] |= UINT64_C(1) << (p % 64);
		p++;
	}
}

/* Does this rule allow something of what is still open? Denies close it. */
static bool step(struct open_set *s, enum policy_action action, uint8_t protos,
		 const struct port_range *ports, size_t n_ports)
{
	static const struct port_range all = { 1, 65535 };
	uint8_t icmp = n_ports ? 0 : protos & (POLICY_ICMPV4 | POLICY_ICMPV6);

	if (n_ports == 0) {
		ports = &all;
		n_ports = 1;
	}
	for (int t = 0; t < 2; t++) {
		if (!(protos & (t ? POLICY_UDP : POLICY_TCP)))
			continue;
		for (size_t i = 0; i < n_ports; i++) {
			if (action == POLICY_DENY)
				range_deny(s->ports[t], ports[i]);
			else if (range_any_open(s->ports[t], ports[i]))
				return true;
		}
	}
	if (action == POLICY_DENY)
		s->icmp_denied |= icmp;
	return action == POLICY_ALLOW && (icmp & ~s->icmp_denied);
}

bool policy_linear_answer(const struct policy *p, const struct ip_addr *a)
{
	const uint8_t any = POLICY_TCP | POLICY_UDP | POLICY_ICMPV4 | POLICY_ICMPV6;
	struct policy_facts f = { .dir = POLICY_EGRESS, .addr = *a, .name = POLICY_NONE };
	struct open_set s = { 0 };

	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];
		uint8_t protos = r->protos ? r->protos : any;

		if (!(r->dirs & POLICY_EGRESS) || rule_by_name(r))
			continue;
		if (r->action == POLICY_DENY && rule_has_http(r))
			continue;
		if (r->dest != POLICY_DEST_ANY && !policy_rule_covers_address(r, &f))
			continue;
		if (rule_has_http(r))
			protos &= POLICY_TCP | POLICY_UDP;
		if (step(&s, r->action, protos, r->ports, r->n_ports))
			return true;
	}
	return p->egress == POLICY_ALLOW && step(&s, POLICY_ALLOW, any, NULL, 0);
}

bool policy_answer_ok(const struct policy *p, const struct ip_addr *a)
{
	if (policy_group_of(a) == POLICY_GROUP_PUBLIC)
		return true;
	if (a->family == 0)
		return false;
	return policy_match_answer(p, a) && (!p->floor || policy_match_answer(p->floor, a));
}
