/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet capture as the gateway would have judged it: frames in, a report out.
 * No I/O; every table is bounded, every frame hostile. Internal to weir/.
 */
#ifndef WEIR_CAPTURE_H
#define WEIR_CAPTURE_H

#include "dns/dns.h"
#include "weir/addresses.h"
#include "weir/packet.h"
#include "weir/replay.h"
#include "weir/stream.h"

/* Flows that are told apart at a time; then the oldest is judged as it is. */
#define CAPTURE_FLOWS_MAX 65536
/* Bytes of all streams that wait for their reader. */
#define CAPTURE_STREAM_BYTES ((size_t)64 << 20)

enum capture_state {
	CAPTURE_READING = 0,  /* TCP: the first bytes are not conclusive yet */
	CAPTURE_REQUESTS = 1, /* plain HTTP: request by request */
	CAPTURE_QUERIES = 2,  /* DNS */
	CAPTURE_DONE = 3,
};

struct capture_flow {
	struct hmap_node node;
	struct list in_order;
	enum policy_proto proto;
	enum capture_state state;
	struct endpoint client, server; /* client: who began */
	bool ingress;
	bool midway; /* the capture begins after the flow */
	struct stream up, down;
};

struct capture {
	const struct policy *policy;
	struct replay_report report;
	struct replay_names *given; /* names that addresses were answered for */
	struct sandbox_net net;	    /* the default one's addresses */
	struct ip_prefix guest;
	bool has_guest;
	struct hash_key key;
	struct hmap flows;
	struct list order; /* oldest first */
	struct pool pool;
	struct stream_budget budget;
	uint64_t packets;
	uint64_t assumed; /* virtual addresses: judged with some public one behind them */
};

/* guest NULL: not told. */
must_check int capture_init(struct capture *c, const struct policy *p, const struct ip_prefix *guest);
void capture_fini(struct capture *c);
void capture_frame(struct capture *c, int link, const uint8_t *p, size_t len);
/* What is still open is judged with what is known. */
void capture_end(struct capture *c);

/* ---- capture_judge.c ----------------------------------------------------------------- */

/* A flow at once: UDP, echo, ingress. */
void capture_judge_flow(struct capture *c, const struct capture_flow *f);
/*
 * A TCP flow with its first bytes; eof: there will be no more. False: undecided.
 * Sets the flow's state.
 */
bool capture_judge_first(struct capture *c, struct capture_flow *f, bool eof);
/* Requests that are whole by now. */
void capture_judge_requests(struct capture *c, struct capture_flow *f);
/* One message of a resolver's; from the client: a query. */
void capture_judge_dns(struct capture *c, bool from_client, const uint8_t *p, size_t len);

#endif
