/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the replay of records share. Internal to weir/. */
#ifndef WEIR_REPLAY_RECORD_H
#define WEIR_REPLAY_RECORD_H

#include "weir/record_read.h"
#include "weir/replay.h"

struct replay {
	const struct policy *policy;
	struct record_nets nets;
	struct record_names names;
	struct record_flows flows;
	struct replay_report report;
	uint64_t assumed; /* decisions on an address that the record does not tell */
};

/*
 * Did a policy decide this, and can it be judged again? Else it is counted apart,
 * and *ret is untouched.
 */
bool replay_is_decision(struct replay *r, const json_t *e, const char *unit, struct replay_item *ret);
void replay_apart(struct replay *r, const char *unit, const char *why, const json_t *e);
void replay_done(struct replay *r, struct replay_item *item, const struct policy_verdict *v);
/* It depends on what the record does not tell. */
void replay_done_depends(struct replay *r, struct replay_item *item, const char *on);

/* ---- policy_replay_flow.c: flows, and what was read inside them ---- */

void replay_take_flow(struct replay *r, const json_t *e);
void replay_take_tls(struct replay *r, const json_t *e);
void replay_take_http(struct replay *r, const json_t *e);

#endif
