/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A helper process's side of the record: it builds events and sends them to
 * the supervisor, which alone numbers, chains and writes them.
 */
#ifndef WEIR_RECORD_H
#define WEIR_RECORD_H

#include "audit/audit.h"
#include "policy/policy.h"
#include "weir/judge.h"
#include "weir/message.h"

#define RUN_ID_LEN 8
#define DENIAL_ID_LEN 40

struct record {
	int sock;	   /* to the supervisor; blocking, so that nothing is lost */
	struct loop *loop; /* NULL: every event goes at once */
	struct loop_task task;
	size_t pending;		 /* bytes of text: events that go together, */
	char text[MSG_TEXT_MAX]; /* each but the last with its newline */
	char run[RUN_ID_LEN + 1];
	char tag; /* 'g' gateway, 't' tlsproxy: keeps their ids apart */
	uint64_t next_denial;
};

/* Lines of one sort that a second may have before what repeats is counted. */
struct line_allowance {
	uint64_t since;
	unsigned used;
};
static inline bool line_allowance_used(struct line_allowance *a, uint64_t now, unsigned per_s)
{
	if (now - a->since >= NS_PER_S)
		*a = (struct line_allowance){ .since = now };
	return a->used >= per_s;
}
static inline void line_allowance_take(struct line_allowance *a)
{
	a->used++;
}

/* "RUN-g12": what the guest is told and `weir why` looks up. */
void record_denial_id(struct record *r, char ret[static DENIAL_ID_LEN]);
/* "RUN-f7": a flow, as it is named in events of both processes. */
void record_flow_id(const struct record *r, uint64_t flow, char ret[static DENIAL_ID_LEN]);
/*
 * The event is on its way before the loop sleeps; those of one turn go
 * together, because a message and a wake-up for each would cost more than the
 * flow it tells of. A supervisor that is gone means this process has to go too.
 */
void record_send(struct record *r, struct audit_event *e);
/* Before anything else is said to the supervisor, or the process ends. */
void record_flush(struct record *r);
/* From now on the events of a turn go together. */
void record_batch(struct record *r, struct loop *loop);
/*
 * The members of a decision: verdict, whether it was only observed, rule, reason,
 * floor, generation. r may be NULL where nothing was judged.
 */
void record_ruling(struct audit_event *e, const char *verdict, const struct ruling *r);
/* The reason of a denial that has no rule. */
#define RECORD_NO_RULE "no rule matched, so the default decided"
/* "default" or the rule's id or its index. */
const char *record_rule_name(const struct policy_verdict *v, char out[static 24]);

/* A line about the run itself: its event, and why (or NULL). */
void record_run_event(struct record *r, const char *event, const char *detail);

#endif
