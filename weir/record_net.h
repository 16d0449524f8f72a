/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which addresses a recorded run's gateway had: the run's first line says so.
 * A file may hold several runs, and each has addresses of its own. Internal to weir/.
 */
#ifndef WEIR_RECORD_NET_H
#define WEIR_RECORD_NET_H

#include "audit/audit.h"
#include "weir/addresses.h"

/* Runs of one file whose addresses are remembered; then the oldest give way. */
#define RECORD_NETS_MAX 256

struct record_net {
	char run[65];
	struct ip_addr gateways[2];
	size_t n;
};
struct record_nets {
	struct record_net v[RECORD_NETS_MAX];
	size_t n, next;
};

/* The members of a run's first event that say which addresses it uses. */
void record_net_write(struct audit_event *e, const struct sandbox_net *net);
/* Any event; those that say nothing of addresses change nothing. */
void record_net_learn(struct record_nets *t, const json_t *e);
/* Is this the gateway's address, in the run that the event is of? */
bool record_net_is_gateway(const struct record_nets *t, const json_t *e, const struct ip_addr *a);

#endif
