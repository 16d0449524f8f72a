/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets (internal to netstack): how much may be relayed now, and who
 * waits for his turn. TCP is never dropped: what finds no tokens is not read,
 * from the guest's window or from the descriptor. Datagrams to the guest wait
 * in their socket, those of the guest are dropped and counted.
 */
#ifndef WEIR_NETSTACK_RATE_H
#define WEIR_NETSTACK_RATE_H

#include "netstack/netstack.h"

enum rate_dir { RATE_UP = 0, RATE_DOWN = 1 };

/* per_s 0: no limit. Tokens may go below zero by one datagram. */
struct rate_bucket {
	uint64_t per_s, depth;
	int64_t tokens;
	uint64_t last;
};

/* One direction of a stack or of a class. */
struct rate_gate {
	struct netstack *ns;
	enum rate_dir dir;
	struct rate_bucket bytes, packets;
	struct list waiting; /* netstack_flow.rate[dir].node, first come first served */
	size_t n_waiting;
	struct loop_timer timer;
};

/* In each flow, for each direction. */
struct rate_wait {
	struct list node;
	struct rate_gate *gate; /* waited for; NULL: none */
	bool turn;		/* is being served: nobody is before it */
};

struct netstack_class {
	struct netstack *ns;
	struct list node;
	struct rate_gate gate[2];
	uint32_t flows;
	bool freed; /* by the owner; goes with its last flow */
};

void rate_bucket_set(struct rate_bucket *b, uint64_t per_s, uint64_t depth, uint64_t now);
/* Tokens there are now; INT64_MAX when it has no limit. */
int64_t rate_bucket_tokens(struct rate_bucket *b, uint64_t now);
void rate_bucket_spend(struct rate_bucket *b, uint64_t n);
/* Nanoseconds until it has n tokens, at least 1 when it has not; n at most its depth. */
uint64_t rate_bucket_wait(struct rate_bucket *b, uint64_t n, uint64_t now);

void rate_init(struct netstack *ns);
void rate_fini(struct netstack *ns);
void rate_flow_init(struct netstack_flow *f);
/* It waits for nothing any more, and is in no class. */
void rate_flow_end(struct netstack_flow *f);

/*
 * How many of `want` bytes may go now. 0: none, and the flow waits; when its turn
 * comes relay_tcp_run() or relay_dgram_resume() is called. Then rate_spend().
 */
size_t rate_allow(struct netstack_flow *f, enum rate_dir dir, size_t want);
/* packets 0: as many segments as the bytes fill. */
void rate_spend(struct netstack_flow *f, enum rate_dir dir, size_t bytes, size_t packets);
bool rate_waiting(const struct netstack_flow *f, enum rate_dir dir);
/* Datagrams that cannot wait; false: no tokens, to be dropped (counted). Spends nothing. */
bool rate_admit(struct netstack_flow *f, enum rate_dir dir, size_t packets);

#endif
