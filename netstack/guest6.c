/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which IPv6 addresses are the guest's. Without router advertisements: the
 * configured one. With them a guest makes addresses of its own from the prefix
 * (RFC 4862, 8981), as many and as often as it likes: all of the /64 is its
 * own, but for the router's. Flows carry the address they came from, so nothing
 * has to be kept per address, and a guest that uses a million of them costs what
 * its flows cost.
 *
 * A few that were seen last are remembered for what comes from outside: a
 * published port goes to the configured address where the guest has it, else to
 * the one it used last.
 */
#include "netstack/local.h"

bool guest6_is(const struct netstack *ns, const struct ip_addr *a)
{
	static const uint8_t anycast[8];
	const struct netstack_config *c = &ns->cfg;

	if (!c->guest6.family)
		return false;
	if (ip_equal(a, &c->guest6))
		return true;
	/* Host part zero is every router's of the link (RFC 4291 2.6.1). */
	return c->autoconf.ra && memcmp(a->b, c->guest6.b, 8) == 0 && !ip_equal(a, &c->gateway6) &&
	       memcmp(a->b + 8, anycast, 8) != 0;
}

void guest6_seen(struct netstack *ns, const struct ip_addr *a)
{
	struct guest6 *g = ns->guest6, *oldest = g;

	if (!ns->cfg.autoconf.ra)
		return;
	for (size_t i = 0; i < LIMIT_GUEST6; i++) {
		if (g[i].addr.family && ip_equal(&g[i].addr, a)) {
			g[i].seen_ns = ns_now(ns);
			return;
		}
		if (g[i].seen_ns < oldest->seen_ns)
			oldest = &g[i];
	}
	*oldest = (struct guest6){ *a, ns_now(ns) };
}

void guest6_forget(struct netstack *ns)
{
	memset(ns->guest6, 0, sizeof(ns->guest6));
}

struct ip_addr guest6_target(const struct netstack *ns, const struct ip_addr *want)
{
	const struct guest6 *g = ns->guest6, *last = g;

	if (!ip_equal(want, &ns->cfg.guest6))
		return *want;
	for (size_t i = 0; i < LIMIT_GUEST6; i++) {
		if (g[i].addr.family && ip_equal(&g[i].addr, want))
			return *want;
		if (g[i].seen_ns > last->seen_ns)
			last = &g[i];
	}
	return last->addr.family ? last->addr : *want;
}
