/* SPDX-License-Identifier: Apache-2.0 */
/* Where the host has routes to: addresses that a sandbox's own must stay away from. */
#ifndef WEIR_HOST_ROUTES_H
#define WEIR_HOST_ROUTES_H

#include <net/if.h>

#include "base/base.h"

struct host_route {
	struct ip_prefix to;
	char dev[IFNAMSIZ]; /* "": none, or several */
};
struct host_routes {
	struct host_route *v;
	size_t n;
};

/*
 * Every table's, over rtnetlink; needs no right. Default routes are left out, and
 * so are those that split one in a few parts (0.0.0.0/1): they are about everything.
 */
must_check int host_routes_read(struct host_routes *ret);
void host_routes_fini(struct host_routes *r);

bool prefixes_overlap(const struct ip_prefix *a, const struct ip_prefix *b);
/* The first route that has an address in common with p; NULL: none. */
const struct host_route *host_routes_overlap(const struct host_routes *r, const struct ip_prefix *p);
/* "10.0.0.0/8 (tun0)". Returns out. */
#define HOST_ROUTE_STRLEN (IP_STRLEN + 4 + 3 + IFNAMSIZ)
const char *host_route_text(const struct host_route *r, char out[static HOST_ROUTE_STRLEN]);
#define PREFIX_STRLEN (IP_STRLEN + 4)
const char *prefix_text(const struct ip_prefix *p, char out[static PREFIX_STRLEN]);

#endif
