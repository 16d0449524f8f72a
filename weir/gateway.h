/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway process: the sandbox's link on one side, host sockets on the
 * other, netstack, dns and policy in between. It holds no secret and, once
 * running, no file.
 */
#ifndef WEIR_GATEWAY_H
#define WEIR_GATEWAY_H

#include "netstack/netstack.h"
#include "weir/config.h"

struct gateway_spec {
	pid_t parent; /* the supervisor */
	const struct weir_config *cfg;
	const char *run;
	enum netstack_link_kind link_kind;
	int supervisor;			  /* events out; its end is our end */
	int proxy;			  /* flows to the tlsproxy; -1 without interception */
	int capture;			  /* pcapng file, or -1 */
	const struct publish_port *ports; /* published ones, their descriptors too */
	size_t n_ports;
	struct upstream *upstream; /* its credentials are still in proxy_auth; NULL: none */
	int proxy_auth;		   /* a file that is read and closed, or -1 */
	const struct endpoint *resolvers;
	size_t n_resolvers;
};

/* In the forked child; link is of spec->link_kind. Never returns. */
_Noreturn void gateway_main(const struct gateway_spec *spec, int link);

#endif
