/* SPDX-License-Identifier: Apache-2.0 */
/* Events and ids of a helper process. */
#include "weir/record.h"

#include <unistd.h>

void record_denial_id(struct record *r, char ret[static DENIAL_ID_LEN])
{
	snprintf(ret, DENIAL_ID_LEN, "%s-%c%llu", r->run, r->tag,
		 (unsigned long long)++r->next_denial);
}

void record_flow_id(const struct record *r, uint64_t flow, char ret[static DENIAL_ID_LEN])
{
	snprintf(ret, DENIAL_ID_LEN, "%s-f%llu", r->run, (unsigned long long)flow);
}

void record_send(struct record *r, struct audit_event *e)
{
	size_t len;
	const char *text = audit_event_end(e, &len);

	if (r->pending + 1 + len > sizeof(r->text))
		record_flush(r);
	if (r->pending)
		r->text[r->pending++] = '\n';
	memcpy(r->text + r->pending, text, len);
	r->pending += len;
	if (r->loop)
		loop_task_queue(r->loop, &r->task);
	else
		record_flush(r);
}

void record_flush(struct record *r)
{
	/* Nothing may happen that is not on the record. */
	if (r->pending && msg_send(r->sock, MSG_EVENT, 0, r->text, r->pending, NULL, 0) < 0)
		_exit(1);
	r->pending = 0;
}

static void on_turn_over(struct loop_task *t)
{
	record_flush(container_of(t, struct record, task));
}

void record_batch(struct record *r, struct loop *loop)
{
	r->loop = loop;
	r->task.cb = on_turn_over;
}

void record_run_event(struct record *r, const char *event, const char *detail)
{
	struct audit_event e;

	audit_event_begin(&e, "run");
	audit_str(&e, "event", event);
	if (detail)
		audit_str(&e, "detail", detail);
	record_send(r, &e);
}

const char *record_rule_name(const struct policy_verdict *v, char out[static 24])
{
	if (v->rule_id)
		return v->rule_id;
	if (v->rule < 0)
		return "default";
	snprintf(out, 24, "%d", v->rule);
	return out;
}

void record_ruling(struct audit_event *e, const char *verdict, const struct ruling *r)
{
	char rule[24];

	audit_str(e, "verdict", verdict);
	if (!r)
		return;
	if (r->observed)
		audit_str(e, "observed", "deny");
	if (r->ruled) {
		audit_str(e, "rule", record_rule_name(&r->by, rule));
		audit_str(e, "reason", r->by.reason);
	}
	if (r->ruled && r->by.floor)
		audit_bool(e, "floor", true);
	audit_u64(e, "generation", r->generation);
}
