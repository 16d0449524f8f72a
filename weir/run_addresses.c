/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which addresses a run uses, settled before its record is opened and before
 * any process is isolated: only here can the host's routes still be read.
 */
#include "weir/run_addresses.h"

#include <stdio.h>

/* Would the policy let the sandbox speak with this network, were it reachable? */
static bool policy_opens(const struct policy *p, const struct ip_prefix *to)
{
	struct policy_facts facts = {
		.dir = POLICY_EGRESS,
		.proto = POLICY_TCP,
		.addr = to->addr,
		.port = 443,
		.name = POLICY_UNKNOWN,
		.http = POLICY_UNKNOWN,
	};

	return policy_decide(p, &facts).answer != POLICY_ANSWER_DENY;
}

bool addresses_hidden(const struct sandbox_net *net, const struct host_routes *routes,
		      const struct policy *policy, char *out, size_t size)
{
	const struct ip_prefix *const ranges[] = { &net->virtual4, &net->virtual6 };
	char range[PREFIX_STRLEN], to[HOST_ROUTE_STRLEN];

	for (size_t i = 0; i < routes->n; i++)
		for (size_t k = 0; k < ARRAY_SIZE(ranges); k++) {
			const struct host_route *r = &routes->v[i];

			if (!prefixes_overlap(&r->to, ranges[k]) ||
			    (policy && !policy_opens(policy, &r->to)))
				continue;
			snprintf(out, size,
				 "addresses that stand for names are of %s, and the host has a "
				 "route to %s, which a sandbox cannot reach by address; give "
				 "another range (--dns-pool) or --dns-answers real",
				 prefix_text(ranges[k], range), host_route_text(r, to));
			return true;
		}
	return false;
}

static void tell_others(const struct sandbox_net *net)
{
	char slot[PREFIX_STRLEN];

	if (!ip_equal(&net->slot4.addr, &sandbox_net_default.slot4.addr))
		log_info("the sandbox has IPv4 addresses of %s", prefix_text(&net->slot4, slot));
	if (!ip_equal(&net->slot6.addr, &sandbox_net_default.slot6.addr))
		log_info("the sandbox has IPv6 addresses of %s", prefix_text(&net->slot6, slot));
}

int run_addresses(struct weir_config *cfg, enum slots_how how, struct slots_held *held,
		  struct conf_error *err)
{
	struct host_routes routes = { 0 };
	char text[512];
	int r = host_routes_read(&routes);

	if (r < 0)
		log_warn("the host's routes cannot be read, so the sandbox's addresses may hide "
			 "some of its networks: %s",
			 strerror(-r));
	r = addresses_settle(&cfg->wish, &routes, how, &cfg->net, held, err);
	if (r == 0) {
		tell_others(&cfg->net);
		if (cfg->dns_mode == DNS_VIRTUAL &&
		    addresses_hidden(&cfg->net, &routes, cfg->policy, text, sizeof(text)))
			log_warn("%s", text);
	}
	host_routes_fini(&routes);
	return r;
}
