/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts from the lines of a record, for whoever judges or sums up a run again.
 * A record may come from anybody: a text is a fact only when base/'s parsers
 * take it, and what is remembered is bounded. Internal to weir/.
 */
#ifndef WEIR_RECORD_READ_H
#define WEIR_RECORD_READ_H

#include "audit/audit.h"
#include "policy/policy.h"
#include "weir/record_net.h"
#include "weir/replay.h"

/* False: absent, or not in canonical form. */
bool record_get_ip(const json_t *e, const char *key, struct ip_addr *ret);
bool record_get_endpoint(const json_t *e, const char *key, struct endpoint *ret);
bool record_get_name(const json_t *e, const char *key, struct name *ret);
bool record_get_proto(const json_t *e, enum policy_proto *ret);
/* "port", or "ports" of counted refusals; 0-0: none. */
bool record_get_ports(const json_t *e, struct port_range *ret);
/* Calls fn for every address in a list. */
void record_each_ip(const json_t *e, const char *key,
		    void (*fn)(void *ctx, const struct ip_addr *a), void *ctx);
bool record_has_name(const struct name *names, size_t n, const struct name *name);

/* As things went: what --observe let through was allowed. */
enum audit_verdict record_verdict_of(const json_t *e);
bool record_is_observed(const json_t *e);

/* A dns event of what weir knows by itself: no rule had a say in the addresses. */
bool record_is_own_answer(const json_t *e);
/* About an address of the sandbox's own network, by weir alone: nothing to be judged. */
bool record_is_own_network(const json_t *e);
/* What a dns event teaches: who was given which address, and what stood behind it. */
struct record_names {
	struct replay_names *given, *real;
};
must_check int record_names_init(struct record_names *n);
void record_names_fini(struct record_names *n);
void record_names_learn(struct record_names *n, const json_t *e, const struct name *name);

/* A flow that was allowed: what later events of the same id refer to. */
struct record_flow {
	struct hmap_node node;
	char id[120]; /* "RUN/ID" */
	struct ip_addr dst, upstream;
	uint16_t port;
	struct name name, sni; /* len 0: none */
	bool is_virtual;
	bool is_host; /* dst is the run's gateway */
};
struct record_flows {
	struct hash_key key;
	struct hmap map;
	struct pool pool;
};
must_check int record_flows_init(struct record_flows *t);
void record_flows_fini(struct record_flows *t);
struct record_flow *record_flow_find(struct record_flows *t, const json_t *e);
/* At the cap it is not kept: what is said of it later finds no flow. */
void record_flow_keep(struct record_flows *t, const json_t *e, const struct record_flow *flow);
/*
 * The name that a request or handshake of this flow shows (NULL: none) is one that
 * the flow's address stands for; *ret_names (REPLAY_CANDIDATES) are those it does.
 */
bool record_flow_given(const struct record_flow *f, const struct record_names *n,
		       const struct name *shown, struct name *ret_names, size_t *ret_n);
/* The name a request shows: of its handshake, else its Host. NULL: none. */
const struct name *record_request_name(const struct record_flow *f, const json_t *e,
				       struct name *host);

#endif
